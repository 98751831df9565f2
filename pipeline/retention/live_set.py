"""The mark phase of a prune: what is live, from the newest and the pinned versions on."""

from dataclasses import dataclass, field

from pipeline.config import RetentionConfig
from pipeline.corpus.schema import corpora
from pipeline.encoders.checkpoint_names import CHECKPOINT
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.retention.snapshot import Run, Snapshot, newest
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class LiveSet:
    """What a prune must not delete.

    Attributes:
        manifests: Keys of manifests.
        embeddings: Cache keys of embeddings.
    """

    manifests: set[str] = field(default_factory=set)
    embeddings: set[str] = field(default_factory=set)


def mark(snapshot: Snapshot, retention: RetentionConfig) -> LiveSet:
    """Marks what is live.

    The roots are the newest versions and the pinned ones. A root marks what it was made from, one step back: a
    checkpoint its generation, a generation its checkpoint and the generation before it. A live version marks its
    corpus, a generation also its embeddings, a checkpoint also those that it is comparable with or started from.
    """
    live = LiveSet()
    fingerprints = {snapshot.corpora[number].fingerprint for number in newest(snapshot.corpora, 1)}
    for name, run in snapshot.runs.items():
        checkpoints, generations = _mark_run(snapshot, name, run, retention)
        workspace = Workspace(snapshot.workspace.store, name)
        for number in checkpoints:
            fingerprints.add(run.checkpoints[number].corpus_fingerprint)
            live.manifests.add(_key(workspace.checkpoints_prefix, number))
            live.manifests.update(_checkpoints_of_other_runs(snapshot, run.checkpoints[number]))
        for number in generations:
            generation = run.generations[number]
            fingerprints.add(generation.corpus_fingerprint)
            live.manifests.add(_key(workspace.generations_prefix, number))
            live.embeddings.update(filter(None, (generation.embeddings_key, generation.old_embeddings_key)))
    for number, corpus in snapshot.corpora.items():
        key = corpora(snapshot.workspace).manifest_key(number)
        if corpus.fingerprint in fingerprints or key in snapshot.pins:
            live.manifests.add(key)
    return live


def _mark_run(snapshot: Snapshot, name: str, run: Run, retention: RetentionConfig) -> tuple[set[int], set[int]]:
    """Returns the numbers of the live checkpoints and generations of a run."""
    workspace, pins = Workspace(snapshot.workspace.store, name), snapshot.pins
    checkpoints = set(newest(run.checkpoints, retention.keep_checkpoints))
    checkpoints |= {number for number in run.checkpoints if _key(workspace.checkpoints_prefix, number) in pins}
    generations = set(newest(run.generations, retention.keep_generations))
    generations |= {number for number in run.generations if _key(workspace.generations_prefix, number) in pins}
    mined_from = {run.generations[number].checkpoint_step for number in generations}
    trained_on = {run.checkpoints[number].generation for number in checkpoints}
    generations |= {number for number in trained_on if number is not None}
    checkpoints |= mined_from | {min(run.checkpoints, default=0)}
    generations &= run.generations.keys()
    generations |= {parent for number in generations if (parent := run.generations[number].parent) is not None}
    return checkpoints & run.checkpoints.keys(), generations & run.generations.keys()


def _checkpoints_of_other_runs(snapshot: Snapshot, checkpoint: CheckpointManifest) -> set[str]:
    """Returns keys of the old encoder of a harmonic run, and of the checkpoint that training started from."""
    named = set()
    if checkpoint.harmonic is not None:
        named.add((checkpoint.harmonic.run, checkpoint.harmonic.step))
    source = CHECKPOINT.fullmatch(checkpoint.encoder.pretrained or "")
    if source is not None and source[2] is not None:
        named.add((source[1], int(source[2])))
    return {
        _key(Workspace(snapshot.workspace.store, run).checkpoints_prefix, step)
        for run, step in named
        if run in snapshot.runs and step in snapshot.runs[run].checkpoints
    }


def _key(prefix: str, number: int) -> str:
    return f"{prefix}/manifests/{number:09d}.json"
