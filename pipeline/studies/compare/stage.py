"""Compare: arms that choose triplets in different ways, under one budget of images, over several seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.stages.job import Job
from pipeline.storage.workspace import Workspace
from pipeline.studies.compare.arm_runs import (
    check_can_train_arms,
    load_results,
    make_task,
    pretrained_digest,
    train_missing,
    with_budget,
)
from pipeline.studies.compare.arm_worker import ArmTask, training_ids
from pipeline.studies.compare.arms import Arm
from pipeline.studies.compare.charts import dependence_points, draw_dependence, draw_learning_curves
from pipeline.studies.compare.report import render_markdown, to_document
from pipeline.studies.compare.results import ArmResult
from pipeline.studies.compare.summary import Comparison, compare


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        name: Of the comparison, and of its folder in the workspace.
        arms: Ways of choosing triplets.
        baseline: Name of the arm that the others are compared with.
        seeds: How many; each arm is trained with each of them, from the run's seed on.
        images: Budget: images forwarded in training by each arm and seed.
        points: Evaluations along the way.
        labels: Train on so many of the training labels; None: on all.
    """

    name: str
    arms: tuple[Arm, ...]
    baseline: str
    seeds: int
    images: int
    points: int
    labels: int | None


def run_comparison(job: Job, plan: Plan) -> tuple[Comparison, str]:
    """Trains the arms that have no result yet, and writes the report; stop and repeat it at any time.

    Returns:
        The comparison, and the folder (as a URI) with report.md, report.json, curves.png and the results.

    Raises:
        InputError: The plan, the corpus or the encoder cannot be compared with.
    """
    _check(job.config, job.corpus, plan)
    results = train_missing(job, _folder(plan.name), _tasks(job, plan), f"compare {plan.name}")
    return _report(job.workspace, results, plan)


def _check(config: RunConfig, corpus: Corpus, plan: Plan) -> None:
    check_can_train_arms(config, corpus, "jobs.compare")
    if plan.baseline not in {arm.name for arm in plan.arms}:
        raise InputError(f"--baseline {plan.baseline} is not among --arms: add it there, or name one of them")
    if min(plan.seeds, plan.images, plan.points, 1 if plan.labels is None else plan.labels) < 1:
        raise InputError("--seeds, --images, --points and --labels must be 1 or more")


def draw_beside(workspace: Workspace, name: str, beside: Sequence[str], arms: Sequence[Arm], baseline: str) -> str:
    """Draws the gains of finished comparisons side by side: how they depend on what sets these apart.

    Args:
        workspace: Holds them.
        name: Names the picture's folder.
        beside: The comparisons, in the order of the x axis; NAME=WORDS writes the words there.
        arms: Whose gains; those that a comparison does not have are left out of it.
        baseline: The arm that the others are compared with, in each.

    Returns:
        The picture's URI.

    Raises:
        InputError: One of them has no results, or not the baseline's.
    """
    points, wanted = [], {baseline, *(arm.name for arm in arms)}
    for one, words in (part.partition("=")[::2] for part in beside):
        results = load_results(workspace, _folder(one))
        if not results:
            raise InputError(
                f"there is no comparison {one!r} in {workspace.store.uri}: run jobs.compare --name {one} first"
            )
        results = [result for result in results if result.arm in wanted]
        points += dependence_points(words or one, compare(results, baseline))
    key = f"{_folder(name)}/gains.png"
    workspace.store.put(key, draw_dependence(points, baseline))
    return workspace.uri_of(key)


def _tasks(job: Job, plan: Plan) -> list[ArmTask]:
    """All arms with the first seed, then all with the next: an early stop leaves whole seeds."""
    tasks, config, corpus = [], job.config, job.corpus
    for seed in range(config.seed, config.seed + plan.seeds):
        base = with_budget(config, plan.images, seed)
        num_examples = len(training_ids(corpus, plan.labels, seed))
        start = pretrained_digest(job.with_config(base))
        for arm in plan.arms:
            arm_config = arm.config(base, num_examples)
            tasks.append(make_task(arm.name, arm_config, corpus, plan.points, plan.labels, start))
    return tasks


def _report(workspace: Workspace, results: Sequence[ArmResult], plan: Plan) -> tuple[Comparison, str]:
    comparison = compare(results, plan.baseline, [arm.name for arm in plan.arms])
    words = "\n".join(f"- `{arm.name}`: {arm.words}" for arm in plan.arms)
    document = f"{render_markdown(comparison)}\n## The arms\n\n{words}\n"
    folder, store = _folder(plan.name), workspace.store
    store.put(f"{folder}/report.md", document.encode())
    workspace.put_json(f"{folder}/report.json", to_document(comparison))
    store.put(f"{folder}/curves.png", draw_learning_curves(results, plan.baseline, [arm.name for arm in plan.arms]))
    uri = workspace.uri_of(folder)
    log(f"{len(results)} runs compared: {uri}/report.md and curves.png")
    return comparison, uri


def _folder(name: str) -> str:
    return f"comparisons/{name}"
