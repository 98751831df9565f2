"""Relabel: publishes a corpus anew with other labels for some examples; the old corpus stays as it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline import progress
from pipeline.corpus.publishing import Origin, publish_corpus
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import QUARANTINE, CorpusManifest, corpora, from_parquet
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.corpus.writer import CorpusWriter
from pipeline.errors import InputError
from pipeline.storage.publish import Transaction, VersionedDataset
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class Changes:
    """New labels for a corpus, and what they bring about.

    Attributes:
        label_of: New label by example id; only where it differs from the old one.
        num_unchanged: Ids that were given the label that they have.
        num_to_test: Examples that leave a training label for one that is kept for evaluation. Checkpoints that were
            trained before have seen them, under the old label.
        num_to_training: Examples that go the other way.
        new_labels: Labels that the corpus has not, sorted.
    """

    label_of: dict[int, str]
    num_unchanged: int
    num_to_test: int
    num_to_training: int
    new_labels: tuple[str, ...]


def find_changes(corpus: Corpus, wanted: Mapping[int, str]) -> Changes:
    """Compares wanted labels, never empty, by example id, with those of a corpus.

    Raises:
        InputError: There is no such example.
    """
    for example_id in wanted:
        if not 0 <= example_id < corpus.num_examples:
            raise InputError(
                f"corpus {corpus.manifest.number} has no example {example_id}: its ids are 0 to "
                f"{corpus.num_examples - 1}"
            )
    old = {example_id: corpus.label_names[corpus.labels[example_id]] for example_id in wanted}
    label_of = {example_id: label for example_id, label in wanted.items() if label != old[example_id]}
    is_test = corpus.split.is_test
    moved = [(bool(corpus.is_test[example_id]), is_test(label)) for example_id, label in label_of.items()]
    return Changes(
        label_of,
        len(wanted) - len(label_of),
        moved.count((False, True)),
        moved.count((True, False)),
        tuple(sorted(set(label_of.values()).difference(corpus.label_names))),
    )


def relabel(
    workspace: Workspace, corpus: Corpus, changes: Changes, seed: int, config_digest: str
) -> tuple[CorpusManifest, bool]:
    """Publishes the next corpus: the same examples, ids and parts, with some labels changed.

    The request's key stays, so that `prepare` with the same config finds nothing to do instead of bringing the old
    labels back.

    Returns:
        The manifest that stands, and whether this call published it; False where there is nothing to change.

    Raises:
        InputError: The corpus is not the newest one any more, or would be none that can be mined; nothing is published.
        UnavailableError: The workspace's storage fails.
    """
    old = corpus.manifest
    dataset = corpora(workspace)
    newest = dataset.latest()
    if not changes.label_of:
        return old, False
    if newest is None or newest.number != old.number:
        raise _overtaken(old.number)
    num_relabelled = old.num_relabelled + len(changes.label_of)
    source = old.source.removesuffix(_relabelled_note(old.num_relabelled)) + _relabelled_note(num_relabelled)
    origin = Origin(source, old.source_key, seed, config_digest, num_relabelled)
    committed, ours = publish_corpus(
        dataset, old, corpus.split, origin, lambda transaction: _rewrite(dataset, corpus, changes.label_of, transaction)
    )
    if not ours:
        raise _overtaken(old.number)
    return committed, True


def chain_of(workspace: Workspace, newest: CorpusManifest) -> list[CorpusManifest]:
    """A corpus and those that it was relabelled from, newest first: example ids mean the same in all of them."""
    dataset = corpora(workspace)
    chain, numbers = [newest], set(dataset.numbers())
    while chain[-1].num_relabelled and chain[-1].parent in numbers:
        chain.append(dataset.read(chain[-1].parent))
    return chain


def _rewrite(
    dataset: VersionedDataset[CorpusManifest],
    corpus: Corpus,
    label_of: Mapping[int, str],
    transaction: Transaction[CorpusManifest],
) -> CorpusWriter:
    payload, part_ids = corpus.payload, [corpus.part_ids(part) for part in range(corpus.num_parts)]
    writer = CorpusWriter(transaction, payload, max(map(len, part_ids)))
    with progress.stage("relabel", corpus.num_examples, "examples") as advance:
        for part, ids in enumerate(part_ids):
            table = corpus.read_part(part)
            columns = (table.column("label").to_pylist(), payload.contents(table), payload.paths(table))
            for example_id, label, content, path in zip(ids, *columns, strict=True):
                writer.add(Item(label_of.get(example_id, label), content, path))
            writer.end_part()
            advance(len(ids))
    for record in corpus.manifest.parts_of(QUARANTINE):
        for row in from_parquet(dataset.read_part(record)).to_pylist():
            writer.reject(Rejected(**row))
    writer.finish()
    return writer


def _relabelled_note(num_relabelled: int) -> str:
    """What a relabelled corpus adds to the description of its source."""
    return f" with {num_relabelled:,} label{'s' * (num_relabelled != 1)} changed" if num_relabelled else ""


def _overtaken(number: int) -> InputError:
    return InputError(
        f"a corpus newer than {number} was published meanwhile, so no label was changed: run the same command again"
    )
