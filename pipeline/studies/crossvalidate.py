"""LFW's View 2 with models of one's own: each is trained by the loop without the people of the folds that it scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipeline.config import RunConfig
from pipeline.corpus.ingest import prepare
from pipeline.corpus.lfw_files import read_people
from pipeline.encoders.checkpoints import checkpoints
from pipeline.errors import InputError
from pipeline.evaluation.lfw.scores import View2, combine_folds
from pipeline.evaluation.verification.plot import plot_verification
from pipeline.progress import log
from pipeline.stages.evaluate.lfw import Int8View2
from pipeline.stages.evaluate.stage import CheckpointRef, run_evaluation
from pipeline.stages.job import Job
from pipeline.stages.loop import mine_and_train
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class CrossValidation:
    """View 2 over all models, with embeddings as they are and with int8 ones, and where it was written."""

    view2: View2
    int8: View2
    uri: str

    def report(self) -> dict[str, Any]:
        """A JSON-able document."""
        return self.view2.to_dict() | {"int8": self.int8.to_dict(), "uri": self.uri}


def fold_groups(num_folds: int, folds_per_model: int) -> list[tuple[int, ...]]:
    """Which folds are held out together, counted from 1: near-equal groups in order.

    A model's thresholds for one of its folds are chosen on the others of its group: with two folds for each model,
    neither the model nor the threshold of a fold knows anybody in it, and eight of ten folds are left to train on.

    Raises:
        InputError: A group would have one fold alone, or all.
    """
    if not 2 <= folds_per_model <= num_folds // 2:
        raise InputError(
            f"--folds-per-model {folds_per_model} must be from 2 (one fold is scored by a threshold that another one "
            f"gives) to {num_folds // 2}, as there are {num_folds} folds and some are needed for training"
        )
    starts = range(0, num_folds - num_folds % folds_per_model, folds_per_model)
    groups = [tuple(range(start + 1, start + 1 + folds_per_model)) for start in starts]
    rest = range(len(groups) * folds_per_model + 1, num_folds + 1)
    return [*groups[:-1], (*groups[-1], *rest)]


def crossvalidate(config: RunConfig, folds_per_model: int) -> CrossValidation:
    """Prepares, mines, trains and scores for each group of folds, in a workspace of its own below the config's.

    Whatever stands already is taken as it is, so the same command goes on where it was stopped.

    Raises:
        InputError: The official files are not there, or the config holds people out already.
    """
    folder = config.evaluation.lfw.folder
    if folder is None or config.corpus.test_people is not None:
        raise InputError(
            "cross-validation holds out LFW's people by itself: set evaluation.lfw.folder to the folder of the "
            "official files, and leave corpus.test_people unset"
        )
    people = Path(folder) / "people.txt"
    groups = fold_groups(len(read_people(people).sets), folds_per_model)
    found = []
    for number, group in enumerate(groups, start=1):
        log(f"model {number} of {len(groups)}: without the people of folds {', '.join(map(str, group))}")
        found.append(_one_model(_held_out(config, people, group)))
    view2, int8 = (combine_folds([getattr(one, kind) for one in found]) for kind in ("exact", "int8"))
    root = Workspace.open(config.workspace, config.run)
    done = CrossValidation(view2, int8, root.uri_of(_folder(root)))
    _write(root, done, groups)
    return done


def _held_out(config: RunConfig, people: Path, group: Sequence[int]) -> RunConfig:
    corpus = config.corpus.model_copy(update={"test_people": str(people), "test_sets": tuple(group)})
    name = "folds-" + "-".join(f"{fold:02d}" for fold in group)
    return config.model_copy(update={"corpus": corpus, "workspace": f"{config.workspace.rstrip('/')}/{name}"})


def _one_model(config: RunConfig) -> Int8View2:
    workspace = Workspace.open(config.workspace, config.run)
    workspace.check_writable()
    prepare(config.corpus, workspace, config.seed, config.digest())
    job = Job.open(config)
    mine_and_train(job)
    newest = CheckpointRef(config.run, checkpoints(workspace).numbers()[-1])
    found = run_evaluation(job, [newest], ["lfw_int8"])
    (by_protocol,) = found.results.values()
    scores = cast(Int8View2, by_protocol["lfw_int8"])
    accuracies = ", ".join(f"{fold.accuracy:.4f}" for fold in scores.exact.restricted.folds)
    log(f"accuracy of its folds, restricted setting: {accuracies}")
    return scores


def _write(root: Workspace, done: CrossValidation, groups: Sequence[Sequence[int]]) -> None:
    root.put_json(f"{_folder(root)}/view2.json", done.report())
    names = ["folds " + ", ".join(map(str, group)) for group in groups]
    picture = plot_verification(dict(zip(names, done.view2.verifications, strict=True)), 1e-2)
    root.store.put(f"{_folder(root)}/view2.png", picture)


def _folder(root: Workspace) -> str:
    return f"crossvalidation/{root.run}"
