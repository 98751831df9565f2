from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.encoders.checkpoints import checkpoints, load_encoder
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.cluster.run_jobs import TINY, Finished, run, succeed


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
    assert Path(finished.report["picture"]).read_bytes().startswith(b"\x89PNG")
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
    longer = (
        *TINY,
        "--workspace",
        workspace,
        "--training.num_steps=8",
        "--training.optimiser.schedule=constant",
    )
    assert succeed("loop", *longer).report["generations"] == [0, 1, 2, 3]


def test_a_checkpoint_of_another_architecture_is_named(looped: tuple[Path, Finished]) -> None:
    workspace, _ = looped
    for job in ("mine", "train", "evaluate"):
        refused = run(job, *TINY, "--workspace", looped[0], "--encoder.embedding_dim=64")
        assert refused.code == 2 and "another encoder" in refused.words and "embedding_dim 128" in refused.words
    assert workspace.exists()


def test_what_stops_the_loop_is_said_in_one_sentence_and_the_checkpoint_remains(tmp_path: Path) -> None:
    succeed("prepare", *TINY, "--workspace", tmp_path)
    refused = run("loop", *TINY, "--workspace", tmp_path, "--mining.min_spread=2")
    assert refused.code == 3 and refused.words.strip().splitlines()[-1].startswith("error: the encoder has collapsed")
    hot = ("--training.source=online", "--training.optimiser.learning_rate=1e30")
    diverged = run("train", *TINY, "--workspace", tmp_path, *hot)
    assert diverged.code == 3 and "training diverged" in diverged.words and "checkpoint 0 is the last" in diverged.words
    assert checkpoints(Workspace.open(str(tmp_path), "main")).numbers() == [0]


def test_two_jobs_that_share_only_the_workspace_do_what_the_loop_does(
    looped: tuple[Path, Finished], tmp_path: Path
) -> None:
    import subprocess

    from tests.cluster.run_jobs import ROOT, command, environment

    succeed("prepare", *TINY, "--workspace", tmp_path)
    miner = subprocess.Popen(
        command("mine", "--watch", *TINY, "--workspace", tmp_path),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    trainer = run("train", *TINY, "--workspace", tmp_path)
    _, words = miner.communicate(timeout=120)
    assert trainer.code == 0, trainer.words
    assert miner.returncode == 0, words.decode()
    ours, theirs = (generations(Workspace.open(str(path), "main")) for path in (tmp_path, looped[0]))
    assert ours.numbers() == [0, 1, 2]
    for number in ours.numbers():
        assert Generation(ours, ours.read(number)).shard(0).equals(Generation(theirs, theirs.read(number)).shard(0))


def test_overlap_goes_on_with_the_generation_it_has(looped: tuple[Path, Finished], tmp_path: Path) -> None:
    succeed("prepare", *TINY, "--workspace", tmp_path)
    succeed("loop", *TINY, "--workspace", tmp_path, "--training.mode=overlap", "--training.num_steps=12")
    trained = checkpoints(Workspace.open(str(tmp_path), "main"))
    assert trained.numbers()[-1] == 12
    pinned = [trained.read(step).generation for step in trained.numbers()[1:]]
    assert pinned[0] == 0 and pinned == sorted(pinned, key=lambda number: number or 0)


@pytest.mark.parametrize("source", ["online", "random"])
def test_other_sources_of_triplets_need_no_generation(source: str, looped: tuple[Path, Finished]) -> None:
    trained = checkpoints(trained_on(looped[0], source, num_workers=1))
    assert trained.numbers() == [0, 2, 4, 6] and trained.read(6).generation is None


def test_two_ddp_workers_reach_what_one_reaches(looped: tuple[Path, Finished]) -> None:
    """Group norm: batch norm looks at each worker's share of a batch alone."""
    one, two = (trained_on(looped[0], "online", workers) for workers in (1, 2))
    states = []
    for trained in map(checkpoints, (one, two)):
        manifest = trained.read(6)
        states.append(load_encoder(trained, manifest, manifest.encoder, manifest.transform, "cpu").state_dict())
    for name, weight in states[0].items():
        np.testing.assert_allclose(weight.numpy(), states[1][name].numpy(), atol=1e-5, err_msg=name)


def trained_on(workspace: Path, source: str, num_workers: int) -> Workspace:
    """A run of its own with SGD and group norm, trained at most once."""
    name = f"{source}-{num_workers}"
    flags = (f"--training.source={source}", f"--training.num_workers={num_workers}", f"--run={name}")
    exact = ('--encoder.options={"norm": "group"}', "--training.optimiser.name=sgd")
    succeed("train", *TINY, "--workspace", workspace, *flags, *exact)
    return Workspace.open(str(workspace), name)
