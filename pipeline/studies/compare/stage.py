"""Compare: arms that choose triplets in different ways, under one budget of images, over several seeds."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import weights_digest
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.errors import InputError
from pipeline.progress import say, stage
from pipeline.runtime.actor_pool import ActorPool, Task
from pipeline.runtime.session import required_resources, session
from pipeline.stages.evaluate.context import has_test_pairs
from pipeline.stages.train.stage import check_trainable
from pipeline.storage.leases import acquire_pins
from pipeline.storage.workspace import Workspace
from pipeline.studies.compare.arm_worker import ArmTask, ArmWorker, training_ids
from pipeline.studies.compare.arms import Arm
from pipeline.studies.compare.charts import dependence_points, draw_dependence, draw_learning_curves
from pipeline.studies.compare.report import render_markdown, to_document
from pipeline.studies.compare.results import ArmResult
from pipeline.studies.compare.summary import Comparison, compare

_LONGEST_ARM_S = 7 * 86400.0  # an arm is one task: that none has finished for a while is no sign of a hang


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


def run_comparison(config: RunConfig, workspace: Workspace, corpus: Corpus, plan: Plan) -> tuple[Comparison, str]:
    """Trains the arms that have no result yet, and writes the report; stop and repeat it at any time.

    Returns:
        The comparison, and the folder (as a URI) with report.md, report.json, curves.png and the results.

    Raises:
        InputError: The plan, the corpus or the encoder cannot be compared with.
    """
    _check(config, corpus, plan)
    folder = f"comparisons/{plan.name}"
    tasks = {result_key(folder, task): task for task in _tasks(config, workspace, corpus, plan)}
    results = train_arms(config, workspace, corpus, tasks, f"compare {plan.name}")
    return _report(workspace, folder, results, plan)


def train_arms(
    config: RunConfig, workspace: Workspace, corpus: Corpus, tasks: Mapping[str, ArmTask], title: str
) -> list[ArmResult]:
    """Trains what has no result yet.

    Args:
        config: What all share.
        workspace: Holds the results.
        corpus: The pinned corpus.
        tasks: By the key of their result in the store.
        title: For the progress line.

    Returns:
        The results, in the order of the tasks.
    """
    open_tasks = {key: task for key, task in tasks.items() if not workspace.store.exists(key)}
    if open_tasks:
        cluster = config.cluster.model_copy(update={"stall_timeout_s": _LONGEST_ARM_S})
        waiting = (Task(key, ArmWorker.train, task) for key, task in open_tasks.items())
        with (
            acquire_pins(workspace.store, title, corpus.manifest_key).renewing(),
            session(cluster, required_resources(config, pool=True, trainer=False)),
            ActorPool(cluster, ArmWorker, config, corpus.manifest.number) as pool,
            stage(title, len(open_tasks), "runs") as done,
        ):
            for key, result in pool.run(waiting):
                workspace.store.put(key, result.encode())
                done(1, _words(ArmResult.model_validate_json(result)))
    return [ArmResult.model_validate_json(workspace.store.get(key)) for key in tasks]


def _check(config: RunConfig, corpus: Corpus, plan: Plan) -> None:
    """Finds what is wrong before the first arm is trained."""
    check_trainable(config)
    if config.harmonic is not None:
        raise InputError("jobs.compare trains each run alone: take harmonic out of the config")
    if plan.baseline not in {arm.name for arm in plan.arms}:
        raise InputError(f"--baseline {plan.baseline} is not among --arms: add it there, or name one of them")
    if not has_test_pairs(corpus):
        raise InputError(
            "the corpus keeps no test label with two examples: prepare it with a larger corpus.test_fraction"
        )
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
    store = workspace.store
    points, wanted = [], {baseline, *(arm.name for arm in arms)}
    for one, words in (part.partition("=")[::2] for part in beside):
        keys = store.list(f"comparisons/{one}/results")
        results = [ArmResult.model_validate_json(store.get(key)) for key in keys]
        if not results:
            raise InputError(f"there is no comparison {one!r} in {store.uri}: run jobs.compare --name {one} first")
        results = [result for result in results if result.arm in wanted]
        points += dependence_points(words or one, compare(results, baseline))
    key = f"comparisons/{name}/gains.png"
    store.put(key, draw_dependence(points, baseline))
    return f"{store.uri.rstrip('/')}/{key}"


def _tasks(config: RunConfig, workspace: Workspace, corpus: Corpus, plan: Plan) -> list[ArmTask]:
    """All arms with the first seed, then all with the next: an early stop leaves whole seeds."""
    num_steps = max(1, plan.images // config.training.batch.num_images)
    training = config.training.model_copy(update={"num_steps": num_steps})
    base = config.model_copy(update={"training": training})
    tasks = []
    for seed in range(config.seed, config.seed + plan.seeds):
        num_examples = len(training_ids(corpus, plan.labels, seed))
        start = pretrained_digest(config, workspace, corpus, seed)
        for arm in plan.arms:
            arm_config = arm.config(base, num_examples).model_copy(update={"seed": seed})
            digest = arm_digest(arm_config, corpus, plan.points, plan.labels, start)
            tasks.append(ArmTask(arm.name, arm_config, digest, plan.points, plan.labels))
    return tasks


def pretrained_digest(config: RunConfig, workspace: Workspace, corpus: Corpus, seed: int) -> str | None:
    """Of the weights that ``encoder.pretrained`` names, which may change under that name; None where it names none."""
    if config.encoder.pretrained is None:
        return None
    start = pretrained_encoder(config.encoder, config.transform, seed, workspace, corpus.fingerprint)
    return weights_digest(config.encoder, start.state_dict())


def arm_digest(config: RunConfig, corpus: Corpus, points: int, labels: int | None, start: str | None) -> str:
    """Of everything that shapes an arm's result: equal digests, no need to train again."""
    shapes = (config.transform, config.encoder, config.embed, config.mining, config.training, config.evaluation)
    document = [part.model_dump(mode="json") for part in shapes]
    text = json.dumps([config.seed, document, corpus.fingerprint, points, labels, start], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def result_key(folder: str, task: ArmTask) -> str:
    """Where a task's result is kept."""
    return f"{folder}/results/{task.arm}-{task.config.seed}-{task.digest[:16]}.json"


def _words(result: ArmResult) -> str:
    values = ", ".join(f"{name} {value:.3f}" for name, value in result.final.metrics.items())
    return f"{result.arm} (seed {result.seed}): {values}"


def _report(workspace: Workspace, folder: str, results: Sequence[ArmResult], plan: Plan) -> tuple[Comparison, str]:
    comparison = compare(results, plan.baseline, [arm.name for arm in plan.arms])
    words = "\n".join(f"- `{arm.name}`: {arm.words}" for arm in plan.arms)
    document = f"{render_markdown(comparison)}\n## The arms\n\n{words}\n"
    store = workspace.store
    store.put(f"{folder}/report.md", document.encode())
    store.put(f"{folder}/report.json", json.dumps(to_document(comparison), indent=2).encode())
    store.put(f"{folder}/curves.png", draw_learning_curves(results, plan.baseline, [arm.name for arm in plan.arms]))
    uri = f"{store.uri.rstrip('/')}/{folder}"
    say(f"{len(results)} runs compared: {uri}/report.md and curves.png")
    return comparison, uri
