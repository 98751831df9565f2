"""Prepare: reads a source once, writes the corpus, publishes it."""

from contextlib import ExitStack

from pipeline import progress
from pipeline.config import CorpusConfig
from pipeline.corpus.items import Item, Source
from pipeline.corpus.schema import CorpusManifest
from pipeline.corpus.sources import open_source
from pipeline.corpus.split import Split, read_split
from pipeline.corpus.writer import CorpusWriter
from pipeline.errors import InputError
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.publish import Attempt, Publication
from pipeline.storage.workspace import Workspace


def prepare(
    config: CorpusConfig, workspace: Workspace, seed: int, config_digest: str, again: bool = False
) -> tuple[CorpusManifest, bool]:
    """Makes the corpus that the config asks for, unless the workspace has it.

    Args:
        config: The source, and how it is cut and split. Its digest is the key of the request: what lies at
            the source's path is only looked at again where ``again`` says so.
        workspace: Where the corpus is published.
        seed: The run's seed, for the record.
        config_digest: Of the whole run's config, for the record.
        again: Read the source even where the same request was answered before; publish only what changed.

    Returns:
        The manifest that stands, and whether this call published it.

    Raises:
        InputError: The source cannot be read, or makes no corpus that can be mined; nothing is published.
        UnavailableError: The workspace's storage fails.
    """
    publication = Publication(workspace.store, workspace.corpus_prefix, CorpusManifest)
    latest = publication.latest()
    split = read_split(config)
    # A list of people is read again each time: an edited one is another request.
    source_key = config.digest() if split.test_labels is None else split.fingerprint(config.digest())
    if latest is not None and latest.source_key == source_key and not again:
        return latest, False
    source = open_source(config)
    attempt = publication.begin(0 if latest is None else latest.number + 1)
    with ExitStack() as cleanup:
        cleanup.callback(_discard, workspace.store, attempt)
        writer = _ingest(source, config, attempt)
        _check_usable(source, split, writer)
        fingerprint = split.fingerprint(writer.fingerprint)
        if latest is not None and (latest.source_key, latest.fingerprint) == (source_key, fingerprint):
            return latest, False
        cleanup.pop_all()  # once the manifest is sent, its parts may be in use, whatever the answer
    manifest = CorpusManifest(
        **attempt.header(),
        parent=None if latest is None else latest.number,
        seed=seed,
        config_digest=config_digest,
        fingerprint=fingerprint,
        num_examples=writer.num_examples,
        num_labels=len(writer.label_counts),
        payload=source.payload,
        vector_dim=writer.vector_dim,
        test_fraction=config.test_fraction,
        test_labels=None if split.test_labels is None else tuple(sorted(split.test_labels)),
        source=source.description,
        source_key=source_key,
        quarantined=dict(sorted(writer.quarantined.items())),
    )
    standing, ours = attempt.publish(manifest)
    if not ours:
        progress.say(f"corpus {standing.number} was published by another job meanwhile: it is kept")
        _discard(workspace.store, attempt)
    return standing, ours


def _ingest(source: Source, config: CorpusConfig, attempt: Attempt[CorpusManifest]) -> CorpusWriter:
    writer = CorpusWriter(attempt, source.payload, config.examples_per_part)
    with progress.stage("prepare", source.num_entries, "examples") as done:
        for entry in source:
            if isinstance(entry, Item):
                writer.add(entry)
            else:
                writer.reject(entry)
            done(1)
    writer.finish()
    return writer


def _check_usable(source: Source, split: Split, writer: CorpusWriter) -> None:
    """Refuses what no triplet can be drawn from; says what will not be evaluated."""
    counts = writer.label_counts
    if not counts:
        raise InputError(
            f"{source.description} holds no usable {source.payload}: {_rejections(writer)}; "
            f"check corpus.source.path and corpus.source.kind"
        )
    if len(counts) == 1:
        raise InputError(
            f"{source.description} has only one label, {next(iter(counts))!r} ({_rejections(writer)}): "
            f"triplets need at least two labels, one folder or label value for each"
        )
    if max(counts.values()) == 1:
        raise InputError(
            f"{source.description} has {len(counts)} labels with one example each ({_rejections(writer)}): "
            f"a triplet needs a label with two examples"
        )
    kept_for_test = {label for label in counts if split.is_test(label)}
    if len(counts) - len(kept_for_test) < 2:
        raise InputError(
            f"{source.description} leaves {len(counts) - len(kept_for_test)} label(s) for training, as "
            f"{split.words()} keeps {len(kept_for_test)} of {len(counts)} for evaluation: keep fewer"
        )
    if all(counts[label] == 1 or label in kept_for_test for label in counts):
        raise InputError(
            f"no training label of {source.description} has two examples, as {split.words()} "
            f"keeps {len(kept_for_test)} of {len(counts)} for evaluation: keep fewer"
        )
    if split.test_labels is not None and len(kept_for_test) < len(split.test_labels):
        absent = sorted(split.test_labels - kept_for_test)
        progress.say(
            f"warning: {len(absent)} of {split.words()} are not in the corpus, the first {absent[0]!r}: names must "
            "equal the corpus's labels"
        )
    if split.test_fraction > 0 and not kept_for_test:
        progress.say(f"warning: {split.words()} keeps no label of {len(counts)} for tests")


def _rejections(writer: CorpusWriter) -> str:
    total = writer.quarantined.total()
    if writer.first_rejected is None:
        return "no entry was rejected"
    reasons = ", ".join(f"{reason}: {count}" for reason, count in writer.quarantined.most_common())
    first = writer.first_rejected
    return f"{total} entries were rejected ({reasons}), first {first.path} ({first.detail})"


def _discard(store: ObjectStore, attempt: Attempt[CorpusManifest]) -> None:
    for part in attempt.parts:
        store.delete(part.key)
