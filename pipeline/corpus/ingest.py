"""Prepare: reads a source once, writes the corpus, publishes it."""

from pipeline import progress
from pipeline.config import CorpusConfig
from pipeline.corpus.publishing import Origin, publish_corpus
from pipeline.corpus.schema import CorpusManifest, corpora
from pipeline.corpus.sources.items import Item, Source
from pipeline.corpus.sources.registry import open_source
from pipeline.corpus.split import read_split
from pipeline.corpus.writer import CorpusWriter
from pipeline.errors import InputError
from pipeline.storage.publish import Transaction
from pipeline.storage.workspace import Workspace


def prepare(
    config: CorpusConfig,
    workspace: Workspace,
    seed: int,
    config_digest: str,
    again: bool = False,
    drop_corrections: bool = False,
) -> tuple[CorpusManifest, bool]:
    """Makes the corpus that the config asks for, unless the workspace has it.

    Args:
        config: The source, and how it is cut and split. Its digest is the key of the request: what lies at
            the source's path is only looked at again where ``again`` says so.
        workspace: Where the corpus is published.
        seed: The run's seed, for the record.
        config_digest: Of the whole run's config, for the record.
        again: Read the source even where the same request was answered before; publish only what changed.
        drop_corrections: Read it even where labels of the newest corpus were changed since, which the source has not.

    Returns:
        The manifest that stands, and whether this call published it.

    Raises:
        InputError: The source cannot be read, or makes no corpus that can be mined, or corrected labels would be lost;
            nothing is published.
        UnavailableError: The workspace's storage fails.
    """
    dataset = corpora(workspace)
    latest = dataset.latest()
    split = read_split(config)
    # A list of people is read again each time: an edited one is another request.
    source_key = config.digest() if split.test_labels is None else split.fingerprint(config.digest())
    if latest is not None and latest.source_key == source_key and not again:
        return latest, False
    if latest is not None and latest.num_relabelled and not drop_corrections:
        raise InputError(
            f"corpus {latest.number} was corrected since its source was read (labels changed: "
            f"{latest.num_relabelled:,}), and reading a source now would bring the old labels back: give "
            "--drop-corrections if that is wanted; a list of corrections can be applied again afterwards"
        )
    source = open_source(config)
    origin = Origin(source.description, source_key, seed, config_digest)
    return publish_corpus(dataset, latest, split, origin, lambda transaction: _ingest(source, config, transaction))


def _ingest(source: Source, config: CorpusConfig, transaction: Transaction[CorpusManifest]) -> CorpusWriter:
    writer = CorpusWriter(transaction, source.payload, config.examples_per_part)
    with progress.stage("prepare", source.num_entries, "examples") as advance:
        for entry in source:
            if isinstance(entry, Item):
                writer.add(entry)
            else:
                writer.reject(entry)
            advance(1)
    writer.finish()
    return writer
