"""Publishes a corpus from whatever writes its examples: a source that is read, or a corpus that is relabelled."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline import progress
from pipeline.corpus.schema import CorpusManifest
from pipeline.corpus.split import Split
from pipeline.corpus.writer import CorpusWriter
from pipeline.errors import InputError
from pipeline.storage.leases import acquire_pins
from pipeline.storage.publish import Transaction, VersionedDataset


@dataclass(frozen=True)
class Origin:
    """What a manifest records of how its corpus came about; see ``CorpusManifest``."""

    source: str
    source_key: str
    seed: int
    config_digest: str
    num_relabelled: int = 0


def publish_corpus(
    dataset: VersionedDataset[CorpusManifest],
    latest: CorpusManifest | None,
    split: Split,
    origin: Origin,
    write: Callable[[Transaction[CorpusManifest]], CorpusWriter],
) -> tuple[CorpusManifest, bool]:
    """Writes a corpus and publishes it under the next number, unless the newest one, its parent, is just that.

    ``write`` writes all examples and what was rejected, and finishes the writer.

    Returns:
        The manifest that stands, and whether this call published it.

    Raises:
        InputError: What was written is no corpus that can be mined; nothing is published.
    """
    transaction = dataset.begin(0 if latest is None else latest.number + 1)
    being_written = f"{dataset.data_folder(transaction.number, transaction.writer)}/"
    lease = acquire_pins(dataset.store, f"writing of corpus {transaction.number}", being_written)
    with lease.renewing():
        with transaction.rollback_on_error():  # once the manifest is sent, its parts may be in use, whatever the answer
            writer = write(transaction)
            check_usable(origin.source, split, writer)
        fingerprint = split.fingerprint(writer.fingerprint)
        if latest is not None and (latest.source_key, latest.fingerprint) == (origin.source_key, fingerprint):
            transaction.roll_back()
            return latest, False
        manifest = CorpusManifest(
            **transaction.manifest_fields(),
            **vars(origin),
            parent=None if latest is None else latest.number,
            fingerprint=fingerprint,
            num_examples=writer.num_examples,
            num_labels=len(writer.label_counts),
            payload=writer.payload.name,
            vector_dim=writer.vector_dim,
            test_fraction=split.test_fraction,
            test_labels=None if split.test_labels is None else tuple(sorted(split.test_labels)),
            quarantined=dict(sorted(writer.quarantined.items())),
        )
        committed, ours = transaction.commit(manifest)
    if not ours:
        progress.log(f"corpus {committed.number} was published by another job meanwhile: it is kept")
    return committed, ours


def check_usable(source: str, split: Split, writer: CorpusWriter) -> None:
    """Refuses what no triplet can be drawn from; says what will not be evaluated."""
    counts = writer.label_counts
    if not counts:
        raise InputError(
            f"{source} holds no usable {writer.payload.name}: {_rejections(writer)}; "
            f"check corpus.source.path and corpus.source.kind"
        )
    if len(counts) == 1:
        raise InputError(
            f"{source} has only one label, {next(iter(counts))!r} ({_rejections(writer)}): "
            f"triplets need at least two labels, one folder or label value for each"
        )
    if max(counts.values()) == 1:
        raise InputError(
            f"{source} has {len(counts)} labels with one example each ({_rejections(writer)}): "
            f"a triplet needs a label with two examples"
        )
    kept_for_test = {label for label in counts if split.is_test(label)}
    if len(counts) - len(kept_for_test) < 2:
        raise InputError(
            f"{source} leaves {len(counts) - len(kept_for_test)} label(s) for training, as "
            f"{split.format_settings()} keeps {len(kept_for_test)} of {len(counts)} for evaluation: keep fewer"
        )
    if all(counts[label] == 1 or label in kept_for_test for label in counts):
        raise InputError(
            f"no training label of {source} has two examples, as {split.format_settings()} "
            f"keeps {len(kept_for_test)} of {len(counts)} for evaluation: keep fewer"
        )
    if split.test_labels is not None and len(kept_for_test) < len(split.test_labels):
        absent = sorted(split.test_labels - kept_for_test)
        progress.log(
            f"warning: {len(absent)} of {split.format_settings()} are not in the corpus, the first {absent[0]!r}: "
            "names must equal the corpus's labels"
        )
    if split.test_fraction > 0 and not kept_for_test:
        progress.log(f"warning: {split.format_settings()} keeps no label of {len(counts)} for tests")


def _rejections(writer: CorpusWriter) -> str:
    total = writer.quarantined.total()
    if writer.first_rejected is None:
        return "no entry was rejected"
    reasons = ", ".join(f"{reason}: {count}" for reason, count in writer.quarantined.most_common())
    first = writer.first_rejected
    return f"{total} entries were rejected ({reasons}), first {first.path} ({first.detail})"
