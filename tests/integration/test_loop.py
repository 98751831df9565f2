import itertools
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, load_encoder
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import GenerationManifest
from tests.support.jobs import ROOT, TINY, Finished, command, environment, rounds, run, succeed


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A workspace in which the loop has run to its end."""
    workspace = tmp_path_factory.mktemp("loop")
    succeed("prepare", *TINY, "--workspace", workspace)
    return workspace, succeed("loop", *TINY, "--workspace", workspace)


def test_every_round_mines_a_generation_from_its_own_checkpoint(looped: tuple[Path, Finished]) -> None:
    workspace = Workspace.open(str(looped[0]), "main")
    published = generations(workspace)
    assert published.numbers() == [0, 1, 2] == looped[1].report["generations"]
    assert [published.read(number).checkpoint_step for number in published.numbers()] == [0, 2, 4]
    assert len({published.read(number).weights_digest for number in published.numbers()}) == 3
    trained = checkpoints(workspace)
    assert trained.numbers() == [0, 2, 4, 6]
    assert [trained.read(step).generation for step in (2, 4, 6)] == [0, 1, 2]
    assert {
        "loss",
        "active_share",
        "images_per_s",
        "data_wait_share",
        "generation_wait_share",
    } <= trained.read(6).metrics.keys()


def test_the_loop_shows_before_and_after_and_leaves_a_picture(looped: tuple[Path, Finished]) -> None:
    _, finished = looped
    assert "main untrained" in finished.words and "main step 6" in finished.words
    assert Path(finished.report["pictures"][0]).read_bytes().startswith(b"\x89PNG")
    evaluated = finished.report["evaluations"]["main step 6"]
    assert {"recall_at_1", "roc_auc", "val_at_far_1e-03", "val_at_far_1e-02"} <= evaluated.keys()


def test_a_generation_says_where_it_comes_from_and_loses_nothing(looped: tuple[Path, Finished]) -> None:
    published = generations(Workspace.open(str(looped[0]), "main"))
    generation = Generation(published, published.read(1))
    manifest = generation.manifest
    triplets = generation.shard(0)
    assert len(triplets) == manifest.num_triplets == sum(manifest.kinds.values()) > 0
    assert manifest.num_pairs == manifest.num_triplets + manifest.num_pairs_without_negative
    assert (np.diff(triplets["anchor"].to_numpy()) >= 0).all()
    assert len(generation.quarantine()) == sum(manifest.quarantined.values())
    neighbours = generation.neighbours()
    assert sum(neighbours["num_triplets"].to_pylist()) <= manifest.num_triplets
    part = looped[0] / manifest.parts_of("triplets")[0].key
    metadata = pq.read_schema(part).metadata
    assert metadata[b"checkpoint_step"] == b"2" and metadata[b"weights_digest"] == manifest.weights_digest.encode()


def test_a_finished_loop_has_nothing_to_do(looped: tuple[Path, Finished]) -> None:
    workspace, _ = looped
    before = sorted(path for path in workspace.rglob("*") if path.is_file() and "evaluation" not in path.parts)
    again = succeed("loop", *TINY, "--workspace", workspace)
    after = sorted(path for path in workspace.rglob("*") if path.is_file() and "evaluation" not in path.parts)
    assert before == after and again.report["generations"] == [0, 1, 2]


def test_more_steps_go_on_where_the_loop_ended(looped: tuple[Path, Finished], tmp_path: Path) -> None:
    workspace, _ = looped
    longer = (*TINY, "--workspace", workspace, *rounds(8, 2), "--training.optimiser.schedule=constant")
    assert succeed("loop", *longer).report["generations"] == [0, 1, 2, 3]


def test_a_checkpoint_of_another_architecture_is_named(looped: tuple[Path, Finished]) -> None:
    workspace, _ = looped
    for job in ("mine", "train"):
        refused = run(job, *TINY, "--workspace", looped[0], "--encoder.embedding_dim=64")
        assert refused.code == 2 and "another encoder" in refused.words and "embedding_dim 128" in refused.words
    assert workspace.exists()


def test_what_stops_the_loop_is_said_in_one_sentence_and_the_checkpoint_remains(tmp_path: Path) -> None:
    succeed("prepare", *TINY, "--workspace", tmp_path)
    refused = run("loop", *TINY, "--workspace", tmp_path, "--mining.audit.min_spread=2")
    assert refused.code == 3 and refused.words.strip().splitlines()[-1].startswith("error: the encoder has collapsed")
    assert checkpoints(Workspace.open(str(tmp_path), "main")).numbers() == [0]


def test_two_jobs_that_share_only_the_workspace_do_what_the_loop_does(
    looped: tuple[Path, Finished], tmp_path: Path
) -> None:
    succeed("prepare", *TINY, "--workspace", tmp_path)
    miner = subprocess.Popen(
        command("mine", "--watch", *TINY, "--workspace", tmp_path),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    trainer = run("train", *TINY, "--workspace", tmp_path)
    _, words = miner.communicate(timeout=280)
    assert trainer.code == 0, trainer.words
    assert miner.returncode == 0, words.decode()
    ours, theirs = (generations(Workspace.open(str(path), "main")) for path in (tmp_path, looped[0]))
    assert ours.numbers() == [0, 1, 2]
    for number in ours.numbers():
        assert Generation(ours, ours.read(number)).shard(0).equals(Generation(theirs, theirs.read(number)).shard(0))


def test_overlap_never_waits_and_swaps_when_a_newer_generation_appears(tmp_path: Path) -> None:
    succeed("prepare", *TINY, "--workspace", tmp_path)
    longer = ("--training.mode=overlap", *rounds(400, 100))
    succeed("loop", *TINY, "--workspace", tmp_path, *longer)
    trained = checkpoints(Workspace.open(str(tmp_path), "main"))
    steps = step_log(trained)
    assert steps["step"].to_pylist() == list(range(400))
    used = [number for number, _ in itertools.groupby(steps["generation"].to_pylist())]
    mined = [number for number in used if number is not None]  # the first steps may come before any generation
    assert len(mined) >= 3 and mined == sorted(mined), "newer and newer ones are taken up"
    swaps = np.flatnonzero(np.diff([-1 if number is None else number for number in steps["generation"].to_pylist()]))
    assert any((swap + 1) % 100 for swap in swaps), "not only where a round ends"
    assert all(trained.read(step).metrics["generation_wait_share"] == 0.0 for step in (100, 200, 300, 400))


def test_a_stale_generation_ends_its_round_early_and_the_curriculum_goes_on_with_the_next(tmp_path: Path) -> None:
    succeed("prepare", *TINY, "--workspace", tmp_path)
    config = tmp_path / "run.yaml"
    config.write_text(
        "training:\n  batch: {random_share: 0.25, previous_share: 0.5, in_batch_share: 0.5}\n"
        "  staleness: {min_in_band_share: 1, check_every_steps: 2}\n"
        "  curriculum:\n  - {from_step: 2, band: {margin: 0.1}, selection: hard, clique_size: 4}\n"
        "  - {from_step: 4, random_share: 1.0}\n"
    )
    succeed("loop", "--config", config, *TINY, "--workspace", tmp_path, "--training.steps_per_round=10")
    trained = checkpoints(Workspace.open(str(tmp_path), "main"))
    assert trained.numbers() == [0, 2, 4, 6], "not after ten steps"
    assert trained.read(2).metrics["listed_in_band_share"] < 1.0
    mined = [generations_of(tmp_path).read(number) for number in (0, 1, 2)]
    assert [manifest.checkpoint_step for manifest in mined] == [0, 2, 4], "each early checkpoint is mined from at once"
    assert [manifest.mining.band.margin for manifest in mined] == [0.2, 0.1, 0.1]


def test_collapse_is_noticed_and_the_last_good_checkpoint_remains(tmp_path: Path) -> None:
    """Hardest from step 0 at a high learning rate: FaceNet's warning (section 3.2), provoked."""
    succeed("prepare", *TINY, "--workspace", tmp_path)
    hot = ("--training.optimiser.learning_rate=0.1", "--training.optimiser.schedule=constant")
    hardest = ("--training.source=online", "--training.selection=hard", *rounds(1000, 1000))
    collapsed = run("train", *TINY, "--workspace", tmp_path, *hot, *hardest)
    assert collapsed.code == 3, collapsed.words
    assert "training collapsed" in collapsed.words and "training.curriculum" in collapsed.words
    assert "checkpoint 0 is the last good one" in collapsed.words
    assert checkpoints(Workspace.open(str(tmp_path), "main")).numbers() == [0]


def test_a_run_may_start_from_another_runs_weights_and_random_triplets_need_no_generation(
    looped: tuple[Path, Finished],
) -> None:
    flags = ("--workspace", looped[0], "--run=second", "--encoder.pretrained=main:4", "--training.source=random")
    started = succeed("train", *TINY, *flags)
    assert "start from run 'main' step 4" in started.words
    first, second = (checkpoints(Workspace.open(str(looped[0]), name)) for name in ("main", "second"))
    assert first.read(4).weights_digest == second.read(0).weights_digest
    assert second.numbers() == [0, 2, 4, 6] and second.read(6).generation is None


def step_log(trained: VersionedDataset[CheckpointManifest]) -> pa.Table:
    """The log of a run's steps, over all its checkpoints."""
    parts = (trained.read(number).parts_of("steps")[0] for number in trained.numbers()[1:])
    return pa.concat_tables(pq.read_table(pa.BufferReader(trained.read_part(part))) for part in parts)


def generations_of(workspace: Path) -> VersionedDataset[GenerationManifest]:
    return generations(Workspace.open(str(workspace), "main"))


def test_the_number_of_workers_may_change_between_runs(looped: tuple[Path, Finished]) -> None:
    """No step is lost or taken twice, and two workers take the steps of one.

    Group norm: batch norm looks at each worker's share of a batch alone.
    """
    flags = ("--training.source=online", "--training.optimiser.schedule=constant", "--training.optimiser.name=sgd")
    runs = {"constant": [(1, 6)], "changing": [(2, 2), (1, 6)]}
    for run_name, parts in runs.items():
        for workers, num_steps in parts:
            own = (f"--run={run_name}", f"--training.num_workers={workers}", f"--training.num_steps={num_steps}")
            norm = '--encoder.options={"norm": "group"}'
            succeed("train", *TINY, *flags, *own, norm, "--workspace", looped[0])
    alone, changing = (checkpoints(Workspace.open(str(looped[0]), name)) for name in runs)
    assert step_log(changing)["step"].to_pylist() == list(range(6))
    np.testing.assert_allclose(step_log(changing)["loss"].to_numpy(), step_log(alone)["loss"].to_numpy(), rtol=1e-4)
    last = alone.read(6)
    states = [
        load_encoder(trained, trained.read(6), last.encoder, last.transform, "cpu").state_dict()
        for trained in (alone, changing)
    ]
    for name, weight in states[0].items():
        np.testing.assert_allclose(weight.numpy(), states[1][name].numpy(), atol=1e-5, err_msg=name)
