"""What must stay: the newest, what leases pin, and what these cannot do without."""

from dataclasses import dataclass, field

from pipeline.config import RetentionConfig
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.encoders.pretrained import CHECKPOINT
from pipeline.retention.holdings import Holdings, Run, corpora, newest
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class Kept:
    """What stays of a workspace.

    Attributes:
        manifests: Keys of manifests.
        embeddings: Keys of embeddings.
    """

    manifests: set[str] = field(default_factory=set)
    embeddings: set[str] = field(default_factory=set)


def choose(holdings: Holdings, retention: RetentionConfig) -> Kept:
    """Chooses what stays.

    The newest ones and the pinned ones are the seeds. A seed keeps what it was made from, one step back: a checkpoint
    its generation, a generation its checkpoint and the generation before it. What is kept keeps its corpus, and
    generations their embeddings; a kept checkpoint those that it must stay comparable with or started from.
    """
    kept = Kept()
    fingerprints = {holdings.corpora[number].fingerprint for number in newest(holdings.corpora, 1)}
    for name, run in holdings.runs.items():
        checkpoints, generations = _of_run(holdings, name, run, retention)
        place = Workspace(holdings.workspace.store, name)
        for number in checkpoints:
            fingerprints.add(run.checkpoints[number].corpus_fingerprint)
            kept.manifests.add(_key(place.checkpoints_prefix, number))
            kept.manifests.update(_ancestors(holdings, run.checkpoints[number]))
        for number in generations:
            generation = run.generations[number]
            fingerprints.add(generation.corpus_fingerprint)
            kept.manifests.add(_key(place.generations_prefix, number))
            kept.embeddings.update(filter(None, (generation.embeddings_key, generation.old_embeddings_key)))
    dataset = corpora(holdings.workspace)
    for number, corpus in holdings.corpora.items():
        key = dataset.manifest_key(number)
        if corpus.fingerprint in fingerprints or key in holdings.pins:
            kept.manifests.add(key)
    return kept


def _of_run(holdings: Holdings, name: str, run: Run, retention: RetentionConfig) -> tuple[set[int], set[int]]:
    """Numbers of the checkpoints and generations of a run that stay."""
    place, pins = Workspace(holdings.workspace.store, name), holdings.pins
    checkpoints = set(newest(run.checkpoints, retention.keep_checkpoints))
    checkpoints |= {number for number in run.checkpoints if _key(place.checkpoints_prefix, number) in pins}
    generations = set(newest(run.generations, retention.keep_generations))
    generations |= {number for number in run.generations if _key(place.generations_prefix, number) in pins}
    seeds = [run.generations[number] for number in generations]
    named = {run.checkpoints[number].generation for number in checkpoints}
    generations |= {number for number in named if number is not None}
    checkpoints |= {seed.checkpoint_step for seed in seeds} | {min(run.checkpoints, default=0)}
    generations &= run.generations.keys()
    generations |= {parent for number in generations if (parent := run.generations[number].parent) is not None}
    return checkpoints & run.checkpoints.keys(), generations & run.generations.keys()


def _ancestors(holdings: Holdings, checkpoint: CheckpointManifest) -> set[str]:
    """Keys of checkpoints of other runs: the old encoder of a harmonic run, the weights that training started from."""
    named = set()
    if checkpoint.harmonic is not None:
        named.add((checkpoint.harmonic.run, checkpoint.harmonic.step))
    source = CHECKPOINT.fullmatch(checkpoint.encoder.pretrained or "")
    if source is not None and source[2] is not None:
        named.add((source[1], int(source[2])))
    store = holdings.workspace.store
    return {
        _key(Workspace(store, run).checkpoints_prefix, step)
        for run, step in named
        if run in holdings.runs and step in holdings.runs[run].checkpoints
    }


def _key(prefix: str, number: int) -> str:
    return f"{prefix}/manifests/{number:09d}.json"
