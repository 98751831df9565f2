"""The provenance of a page: manifests by key and digest; each names its parts by theirs."""

import hashlib
from dataclasses import dataclass

from pipeline.encoders.checkpoints import checkpoints
from pipeline.inspection.report.generations import RecentGenerations
from pipeline.inspection.report.history import TrainingHistory
from pipeline.storage.manifest import Manifest
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations


@dataclass(frozen=True)
class ManifestRecord:
    """A manifest that a page was made from: the time is by its writer's clock, the bytes are those of its parts."""

    name: str
    key: str
    sha256: str
    created_at: str
    num_bytes: int


def collect_provenance(
    workspace: Workspace, recent: RecentGenerations | None, training: TrainingHistory
) -> list[ManifestRecord]:
    """The corpus, the generations shown, the checkpoint of the newest, and the newest checkpoint."""
    records = []
    if recent is not None:
        corpus = recent.newest.corpus
        records.append(_record("corpus", corpus.manifest_key, corpus.manifest, workspace))
        for manifest in (overview.manifest for overview in recent.overviews):
            key = generations(workspace).manifest_key(manifest.number)
            records.append(_record(f"generation {manifest.number}", key, manifest, workspace))
    mined_from = {recent.newest.manifest.checkpoint_step} if recent is not None else set()
    for checkpoint in training.manifests:
        if checkpoint.step in mined_from or checkpoint is training.manifests[-1]:
            key = checkpoints(workspace).manifest_key(checkpoint.step)
            records.append(_record(f"checkpoint {checkpoint.step}", key, checkpoint, workspace))
    return records


def _record(name: str, key: str, manifest: Manifest, workspace: Workspace) -> ManifestRecord:
    digest = hashlib.sha256(workspace.store.get(key)).hexdigest()
    return ManifestRecord(name, key, digest, manifest.created_at, sum(part.num_bytes for part in manifest.parts))
