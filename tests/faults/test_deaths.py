"""kill -9 of actors, of training workers, of a whole node and of the driver, on clusters of three raylets and four."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.failpoints import FOLDER_VARIABLE, VARIABLE, Failpoint
from tests.faults.kills import Outcome, datasets
from tests.faults.runs import ended, start
from tests.support.jobs import TINY, succeed
from tests.support.raylets import Raylets, raylets, wait_until

SEED = 11
ARGUMENTS = (
    *TINY,
    "--corpus.test_fraction=0",  # nothing to evaluate
    "--training.num_steps=4",  # two rounds
    f"--seed={SEED}",
    "--training.num_workers=2",
    "--training.threads_per_worker=1",
    "--cluster.num_actors=2",
    "--cluster.num_shards=2",  # of 140 kB each: smaller values would travel with the calls, not in the object stores
)
OURS = ("ray::RefreshWorker", "ray::RayTrainWorker")
RAYS_OWN = "_AutoscalingCoordinatorActor"  # of Ray Train, detached: it outlives every job of a cluster


@pytest.fixture(scope="module")
def undisturbed(warm_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a loop that nobody disturbs."""
    workspace = tmp_path_factory.mktemp("undisturbed")
    succeed("prepare", *ARGUMENTS, "--workspace", workspace)
    succeed("loop", *ARGUMENTS, "--workspace", workspace)
    return workspace


def assert_same(workspace: Path, undisturbed: Path) -> None:
    """Weights, triplets and the loss of every step, to the bit; each round on the generation of its checkpoint."""
    assert Outcome.of(workspace) == Outcome.of(undisturbed)
    _, trained, mined = datasets(workspace)
    assert mined.numbers() == [0, 1]
    assert {step: trained.read(step).generation for step in trained.numbers()} == {0: None, 2: 0, 4: 1}


class Stage:
    """A workspace with a corpus, a cluster whose workers hang at some places, and a loop on it."""

    def __init__(self, folder: Path) -> None:
        self.workspace, self.arrivals = folder / "workspace", folder / "arrivals"
        self.arrivals.mkdir()
        succeed("prepare", *ARGUMENTS, "--workspace", self.workspace)

    def environ(self, armed: str) -> dict[str, str]:
        return {VARIABLE: armed, FOLDER_VARIABLE: str(self.arrivals)}

    def arguments(self, cluster: Raylets) -> tuple[str | Path, ...]:
        return (*ARGUMENTS, "--workspace", self.workspace, "--cluster.address", cluster.address)

    def has_arrived(self, place: Failpoint, arrival: int) -> Callable[[], bool]:
        return (self.arrivals / f"{place}.{arrival}").exists


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_killed_actors_and_a_killed_training_worker_change_no_result(stage: Stage, undisturbed: Path) -> None:
    part, block, checkpoint = (Failpoint.PART_ENCODED, 3), (Failpoint.BLOCK_SEARCHED, 4), (Failpoint.CHECKPOINT, 2)
    armed = ", ".join(f"{place}=hang@{arrival}" for place, arrival in (part, block, checkpoint))
    with raylets(0, 3, 3, **stage.environ(armed)) as cluster:
        loop = start("loop", *stage.arguments(cluster), environ=cluster.environ)
        for (place, arrival), name, victim in (
            (part, "ray::RefreshWorker.embed_part", 0),
            (block, "ray::RefreshWorker.search_block", 0),
            (checkpoint, "ray::RayTrainWorker", 1),
        ):
            wait_until(f"arrival {arrival} at {place}", stage.has_arrived(place, arrival))
            # The others end their calls, which leaves the one that hangs; training workers wait for one another.
            wait_until("one is left", lambda name=name, victim=victim: len(cluster.workers(name)) == victim + 1)
            process = cluster.workers(name)[victim]
            print(f"seed {SEED}: kill -9 of {name} {process.pid} in arrival {arrival} at {place}")
            process.kill()
        code, words = ended(loop)
    assert code == 0, words
    assert_same(stage.workspace, undisturbed)


def test_nodes_lost_while_mining_and_while_training_change_no_result(stage: Stage, undisturbed: Path) -> None:
    block, checkpoint = (Failpoint.BLOCK_SEARCHED, 4), (Failpoint.CHECKPOINT, 2)
    armed = ", ".join(f"{place}=hang@{arrival}" for place, arrival in (block, checkpoint))
    with raylets(0, 4, 4, 4, **stage.environ(armed)) as cluster:
        loop = start("loop", *stage.arguments(cluster), environ=cluster.environ)
        for (place, arrival), name, num_left in (
            (block, "ray::RefreshWorker.search_block", 1),
            (checkpoint, "ray::RayTrainWorker", 2),
        ):
            wait_until(f"arrival {arrival} at {place}", stage.has_arrived(place, arrival))
            # As above: an actor that searches on is not the one that hangs.
            wait_until("who hangs is left", lambda name=name, left=num_left: len(cluster.workers(name)) == left)
            node = cluster.node_of(cluster.workers(name)[0])
            lost = [process.name() for process in cluster.workers(*OURS) if cluster.node_of(process) == node]
            print(f"seed {SEED}: kill -9 of raylet {node} in arrival {arrival} at {place}, and with it {lost}")
            cluster.kill(node)
        code, words = ended(loop)
        num_nodes = cluster.state()["num_nodes"]
    assert code == 0, words
    assert num_nodes == 2
    assert_same(stage.workspace, undisturbed)


def test_a_killed_driver_leaves_nothing_behind_and_the_same_command_skips_what_stands(
    stage: Stage, undisturbed: Path
) -> None:
    place, arrival = Failpoint.MANIFEST_CREATED, 2  # the driver publishes checkpoint 0, and then generation 0
    with raylets(0, 3, 3) as cluster:
        environ = cluster.environ | stage.environ(f"{place}=kill@{arrival}")
        code, words = ended(start("loop", *stage.arguments(cluster), environ=environ))
        assert code == -signal.SIGKILL, words
        wait_until("nothing of it runs on", lambda: set(cluster.state()["actors"]) <= {RAYS_OWN})
        wait_until("its processes end", lambda: not cluster.workers(*OURS))
        standing = files(stage.workspace / "embeddings") | files(stage.workspace / "runs/main/generations/manifests")
        print(f"seed {SEED}: kill -9 of the driver in arrival {arrival} at {place}; {len(standing)} objects stand")
        assert [path.suffix for path in standing] == 5 * [".parquet"] + [".json"], "of step 0"
        code, words = ended(start("loop", *stage.arguments(cluster), environ=cluster.environ))
        actors = cluster.state()["actors"]
    assert code == 0, words
    assert "embed step 0" not in words and "mine step 0" not in words and "mine step 2" in words
    assert {path: number for path, number in files(stage.workspace).items() if path in standing} == standing
    assert set(actors) <= {RAYS_OWN}
    assert_same(stage.workspace, undisturbed)


def files(folder: Path) -> dict[Path, int]:
    """All files with their number on the disk, which a file that is written anew does not keep."""
    return {path: path.stat().st_ino for path in sorted(folder.rglob("*")) if path.is_file()}
