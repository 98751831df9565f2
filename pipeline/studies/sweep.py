"""Sweep: train with several embedding sizes or training-set sizes, as for FaceNet's tables 5 and 6."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.evaluation.metric_names import val_name
from pipeline.evaluation.robustness.plot import plot_sweeps
from pipeline.evaluation.splits import standard_error
from pipeline.evaluation.sweep import Sweep, tabulate_runs
from pipeline.progress import log
from pipeline.stages.job import Job
from pipeline.studies.compare.arm_runs import (
    check_can_train_arms,
    make_task,
    pretrained_digest,
    train_missing,
    with_budget,
)
from pipeline.studies.compare.arm_worker import ArmTask, training_ids
from pipeline.studies.compare.results import ArmResult

Quantity = Literal["embedding_dim", "training_labels"]

TITLES = {
    "embedding_dim": ("Embedding size", "dimensions"),
    "training_labels": ("Training-set size", "training images"),
}


@dataclass(frozen=True)
class SweepPlan:
    """What is trained.

    Attributes:
        name: Of the sweep, and of its folder in the workspace.
        over: ``embedding_dim``, or ``training_labels``: so many of the training labels, drawn by seed.
        values: One run each, for each seed.
        seeds: How many, from the run's seed on.
        images: Budget: images forwarded in training by each run.
    """

    name: str
    over: Quantity
    values: tuple[int, ...]
    seeds: int
    images: int


@dataclass(frozen=True)
class _Seeds:
    """The results of one value, over its seeds."""

    results: tuple[ArmResult, ...]

    def metrics(self) -> dict[str, float]:
        found = [result.final.metrics for result in self.results]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    def standard_errors(self) -> dict[str, float]:
        found = [result.final.metrics for result in self.results]
        errors = {name: standard_error([one[name] for one in found]) for name in found[0]}
        return {name: error for name, error in errors.items() if error is not None}


def run_sweep(job: Job, plan: SweepPlan) -> tuple[Sweep, str]:
    """Trains what has no result yet, and writes table and plot; stop and repeat it at any time.

    Returns:
        The sweep, and the folder (as a URI) with sweep.md, sweep.json, sweep.png and the results.

    Raises:
        InputError: The plan, the corpus or the encoder do not go together.
    """
    config, workspace, corpus = job.config, job.workspace, job.corpus
    _check(config, corpus, plan)
    folder = f"sweeps/{plan.name}"
    seeds = range(config.seed, config.seed + plan.seeds)
    runs = [(value, _task(job, plan, value, seed)) for seed in seeds for value in plan.values]
    tasks = [task for _, task in runs]
    results = train_missing(job, folder, tasks, f"sweep {plan.over}")
    by_value = {
        _shown(plan, corpus, config.seed, value): _Seeds(
            tuple(result for (of, _), result in zip(runs, results, strict=True) if of == value)
        )
        for value in plan.values
    }
    sweep = tabulate_runs(plan.over, *TITLES[plan.over], by_value)
    store, metric = workspace.store, val_name(config.evaluation.fars[0])
    store.put(f"{folder}/sweep.md", sweep.to_markdown().encode())
    workspace.put_json(f"{folder}/sweep.json", sweep.to_dict())
    store.put(f"{folder}/sweep.png", plot_sweeps({config.run: (sweep,)}, metric))
    uri = workspace.uri_of(folder)
    log(f"{len(results)} runs: {uri}/sweep.md and sweep.png")
    return sweep, uri


def _check(config: RunConfig, corpus: Corpus, plan: SweepPlan) -> None:
    check_can_train_arms(config, corpus, "jobs.sweep")
    if min(plan.seeds, plan.images, *plan.values) < 1 or len(set(plan.values)) < len(plan.values):
        raise InputError("--values, --seeds and --images must be 1 or more, and no value may be named twice")
    num_labels = len(np.unique(corpus.labels[~corpus.is_test]))
    if plan.over == "training_labels" and max(plan.values) > num_labels:
        raise InputError(f"--values {max(plan.values)}: there are {num_labels} training labels; name no more")


def _shown(plan: SweepPlan, corpus: Corpus, first_seed: int, value: int) -> float:
    """What a value stands at: the embedding size, or the training images that so many labels have, over the seeds."""
    if plan.over == "embedding_dim":
        return float(value)
    seeds = range(first_seed, first_seed + plan.seeds)
    return float(round(np.mean([len(training_ids(corpus, value, seed)) for seed in seeds])))


def _task(job: Job, plan: SweepPlan, value: int, seed: int) -> ArmTask:
    own, labels = with_budget(job.config, plan.images, seed), None
    if plan.over == "embedding_dim":
        own = own.model_copy(update={"encoder": own.encoder.model_copy(update={"embedding_dim": value})})
    else:
        labels = value
    return make_task(f"{plan.over}-{value}", own, job.corpus, 1, labels, pretrained_digest(job.with_config(own)))
