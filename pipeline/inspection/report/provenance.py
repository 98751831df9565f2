"""What a page was made from: every manifest by its key and digest, which in turn names its parts by theirs."""

import hashlib
from dataclasses import dataclass

from pipeline.corpus.schema import CorpusManifest
from pipeline.encoders.checkpoints import checkpoints
from pipeline.inspection.report.generations import Lineage
from pipeline.inspection.report.history import Training
from pipeline.storage.manifest import Manifest
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations


@dataclass(frozen=True)
class Source:
    """One manifest.

    Attributes:
        name: What it is of.
        key: In the workspace.
        sha256: Of its bytes.
        created_at: By the clock of its writer.
        num_bytes: Of its parts.
    """

    name: str
    key: str
    sha256: str
    created_at: str
    num_bytes: int


def provenance(workspace: Workspace, lineage: Lineage | None, training: Training) -> list[Source]:
    """The corpus, the generations shown, the checkpoint of the newest, and the newest checkpoint."""
    sources = []
    if lineage is not None:
        corpora = VersionedDataset(workspace.store, workspace.corpus_prefix, CorpusManifest)
        corpus = lineage.newest.corpus.manifest
        sources.append(_source("corpus", corpora.manifest_key(corpus.number), corpus, workspace))
        of_run = generations(workspace)
        for one in lineage.seen:
            manifest = one.manifest
            key = of_run.manifest_key(manifest.number)
            sources.append(_source(f"generation {manifest.number}", key, manifest, workspace))
    mined_from = {lineage.newest.manifest.checkpoint_step} if lineage is not None else set()
    for checkpoint in training.manifests:
        if checkpoint.step in mined_from or checkpoint is training.manifests[-1]:
            key = checkpoints(workspace).manifest_key(checkpoint.step)
            sources.append(_source(f"checkpoint {checkpoint.step}", key, checkpoint, workspace))
    return sources


def _source(name: str, key: str, manifest: Manifest, workspace: Workspace) -> Source:
    digest = hashlib.sha256(workspace.store.get(key)).hexdigest()
    return Source(name, key, digest, manifest.created_at, sum(part.num_bytes for part in manifest.parts))
