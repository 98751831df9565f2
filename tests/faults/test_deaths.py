"""kill -9 of actors and of whole nodes, on clusters of three raylets and four."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil
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
    "--cluster.num_actors=2",
    "--cluster.num_shards=2",  # of 140 kB each: smaller values would travel with the calls, not in the object stores
)
OURS = ("ray::RefreshWorker", "ray::RayTrainWorker")


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


def left_hanging(cluster: Raylets, name: str, number: int) -> list[psutil.Process]:
    """Waits until calls of this name are in so many processes, and for a second in the same: others begin new calls."""
    looks: deque[list[psutil.Process]] = deque(maxlen=6)

    def are_left() -> bool:
        looks.append(cluster.workers(name))
        return len(looks) == looks.maxlen and all(look == looks[0] and len(look) == number for look in looks)

    wait_until(f"only who hangs is in {name}", are_left)
    return looks[0]


def test_killed_actors_change_no_result(stage: Stage, undisturbed: Path) -> None:
    part, block = (Failpoint.PART_ENCODED, 3), (Failpoint.BLOCK_SEARCHED, 4)
    armed = ", ".join(f"{place}=hang@{arrival}" for place, arrival in (part, block))
    with raylets(0, 3, 3, environ=stage.environ(armed)) as cluster:
        loop = start("loop", *stage.arguments(cluster), environ=cluster.environ)
        for (place, arrival), name in (
            (part, "ray::RefreshWorker.embed_part"),
            (block, "ray::RefreshWorker.search_block"),
        ):
            wait_until(f"arrival {arrival} at {place}", stage.has_arrived(place, arrival))
            (process,) = left_hanging(cluster, name, 1)
            print(f"seed {SEED}: kill -9 of {name} {process.pid} in arrival {arrival} at {place}")
            process.kill()
        code, words = ended(loop)
    assert code == 0, words
    assert_same(stage.workspace, undisturbed)


def test_nodes_lost_while_mining_and_while_training_change_no_result(stage: Stage, undisturbed: Path) -> None:
    block, checkpoint = (Failpoint.BLOCK_SEARCHED, 4), (Failpoint.CHECKPOINT, 2)
    armed = ", ".join(f"{place}=hang@{arrival}" for place, arrival in (block, checkpoint))
    with raylets(0, 4, 4, 4, environ=stage.environ(armed)) as cluster:
        loop = start("loop", *stage.arguments(cluster), environ=cluster.environ)
        for (place, arrival), name, num_left in (
            (block, "ray::RefreshWorker.search_block", 1),
            (checkpoint, "ray::RayTrainWorker", 2),
        ):
            wait_until(f"arrival {arrival} at {place}", stage.has_arrived(place, arrival))
            left_hanging(cluster, name, num_left)
            node = next(node for node in range(len(cluster.pids)) if cluster.workers_of(node, name))
            lost = [process.name() for process in cluster.workers_of(node, *OURS)]
            print(f"seed {SEED}: kill -9 of raylet {node} in arrival {arrival} at {place}, and with it {lost}")
            cluster.kill(node)
        code, words = ended(loop)
        num_nodes = cluster.state()["num_nodes"]
    assert code == 0, words
    assert num_nodes == 2
    assert_same(stage.workspace, undisturbed)
