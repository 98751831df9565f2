"""Evaluate: embed the corpus with some checkpoints and measure them on the test labels, side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.cluster.embed_stage import embed
from pipeline.cluster.pool import ActorPool
from pipeline.cluster.session import required_resources, session
from pipeline.cluster.worker import RefreshWorker
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.embeddings.parts import EmbeddingParts
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, load_encoder
from pipeline.errors import InputError
from pipeline.evaluation.evaluate import Evaluation, evaluate_embeddings
from pipeline.evaluation.pictures import draw_verification
from pipeline.progress import say
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class Comparison:
    """Evaluations by name ("main step 300"), in the order they were asked for, and where the picture is."""

    evaluations: dict[str, Evaluation]
    picture: str

    def report(self) -> dict[str, Any]:
        """A JSON-able document."""
        measured = {name: evaluation.to_dict() for name, evaluation in self.evaluations.items()}
        return {"evaluations": measured, "picture": self.picture}


def has_test_pairs(corpus: Corpus) -> bool:
    """Whether the test labels can be verified: two of them, one with two examples."""
    counts = np.unique(corpus.labels[corpus.is_test], return_counts=True)[1]
    return len(counts) >= 2 and int(counts.max()) >= 2


def parse_checkpoint(workspace: Workspace, text: str) -> tuple[str, int]:
    """RUN:STEP, or RUN for its newest checkpoint.

    Raises:
        InputError: There is no such checkpoint.
    """
    run, _, step = text.partition(":")
    numbers = checkpoints(Workspace(workspace.store, run)).numbers()
    if not numbers:
        raise InputError(f"run {run!r} has no checkpoint in {workspace.store.uri}: run jobs.train or jobs.loop first")
    if not step:
        return run, numbers[-1]
    if not step.isdecimal() or int(step) not in numbers:
        raise InputError(f"run {run!r} has no checkpoint {step!r}: choose one of {numbers}")
    return run, int(step)


def evaluate_checkpoints(
    config: RunConfig, workspace: Workspace, corpus: Corpus, wanted: Sequence[tuple[str, int]]
) -> Comparison:
    """Evaluates checkpoints of one architecture on the test labels.

    Args:
        config: The run.
        workspace: Where the checkpoints are, and where results go.
        corpus: The pinned corpus.
        wanted: (run, step) of each checkpoint, the one that matters last.

    Returns:
        The evaluations; each is also written as JSON beside its run, the picture beside the last.

    Raises:
        InputError: No test labels, or a checkpoint of another architecture.
    """
    if not has_test_pairs(corpus):
        raise InputError(
            "the corpus keeps no test label with two examples: prepare it with a larger corpus.test_fraction"
        )
    evaluations: dict[str, Evaluation] = {}
    place = Workspace(workspace.store, config.run)
    with ActorPool(config.cluster, RefreshWorker, config, corpus.manifest.number) as pool:
        for run, step in dict.fromkeys(wanted):
            place = Workspace(workspace.store, run)
            checkpoint = checkpoints(place).read(step)
            if checkpoint.step > 0 and checkpoint.corpus_fingerprint != corpus.fingerprint:
                say(
                    f"WARNING: run {run!r} step {step} was trained on another corpus or split: it may have seen "
                    "labels that it is now tested on, and its figures may be too good"
                )
            load_encoder(checkpoints(place), checkpoint, config.encoder, config.transform, "cpu")
            key = embed(pool, config, place, corpus, checkpoint)
            evaluation = _evaluate(config, place, corpus, key)
            evaluations[_name(run, checkpoint)] = evaluation
            provenance = {"corpus": corpus.manifest.number, "corpus_fingerprint": corpus.fingerprint}
            document = json.dumps(provenance | evaluation.to_dict(), indent=2) + "\n"
            workspace.store.put(f"{place.evaluation_prefix(step)}/metrics.json", document.encode())
    picture = f"{place.evaluation_prefix(wanted[-1][1])}/evaluation.png"
    verifications = {name: evaluation.verification for name, evaluation in evaluations.items()}
    workspace.store.put(picture, draw_verification(verifications, config.evaluation.fars[0]))
    return Comparison(evaluations, f"{workspace.store.uri.rstrip('/')}/{picture}")


def evaluate_alone(
    config: RunConfig, workspace: Workspace, corpus: Corpus, wanted: Sequence[tuple[str, int]]
) -> Comparison:
    """The same as ``evaluate_checkpoints``, in a job of its own."""
    with session(config.cluster, required_resources(config, pool=True, trainer=False)):
        return evaluate_checkpoints(config, workspace, corpus, wanted)


def show(comparison: Comparison) -> None:
    """A short table for people, on stderr, and where the picture is."""
    names = list(comparison.evaluations)
    table = Table(title="test labels", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    metrics = {name: evaluation.metrics() for name, evaluation in comparison.evaluations.items()}
    for metric in metrics[names[0]]:
        table.add_row(metric, *(f"{metrics[name][metric]:.4f}" for name in names))
    Console(stderr=True).print(table)
    say(f"picture: {comparison.picture}")


def _name(run: str, checkpoint: CheckpointManifest) -> str:
    return f"{run} untrained" if checkpoint.step == 0 else f"{run} step {checkpoint.step}"


def _evaluate(config: RunConfig, workspace: Workspace, corpus: Corpus, key: str) -> Evaluation:
    parts = EmbeddingParts(workspace, key)
    vectors = []
    for part in range(corpus.num_parts):
        ids = corpus.part_ids(part)
        is_test = corpus.is_test[ids.start : ids.stop]
        if is_test.any():
            vectors.append(parts.read(part, ids.start, len(ids))[is_test].astype(np.float32))
    return evaluate_embeddings(np.concatenate(vectors), corpus.labels[corpus.is_test], config.evaluation, config.seed)
