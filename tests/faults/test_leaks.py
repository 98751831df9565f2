"""Twenty cycles of mining and training keep memory, files, actors and the object store as they are."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from scipy.stats import theilslopes  # type: ignore[import-untyped]

from tests.faults.kills import datasets
from tests.faults.runs import ended, start
from tests.support.jobs import TINY, rounds, succeed
from tests.support.raylets import Raylets, raylets

SEED = 17
NUM_CYCLES, FIRST = 20, 5  # before the fifth, caches fill
ARGUMENTS = (
    *TINY,
    f"--seed={SEED}",
    "--corpus.test_fraction=0",
    "--training.batch.num_labels=16",
    *rounds(NUM_CYCLES, 1),
)
MEMORY = {
    # One heap that gives back what is freed: without this, fragments of it grow by a megabyte a cycle until they level
    # off at some 50 MB after fifty cycles.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    # oneDNN keeps the code that it makes for each new size of a batch, up to 1,024 of them; the sample by which
    # staleness is measured ends with a batch of another size each time, which makes 150 kB a cycle.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "8",
}
MAX_KB_A_CYCLE = 300.0
MAX_FILES_MORE = 2
MAX_STORE_BYTES_MORE = 2**20  # a cycle puts less into the object store
PROCESSES = ("driver", "ray::RefreshWorker", "ray::RayTrainWorker")


@dataclass(frozen=True)
class Sample:
    """What there is when a checkpoint appears.

    Attributes:
        memory_kb: Resident set of each of ``PROCESSES``.
        num_open: Their file descriptors.
        num_actors: That are not dead, in the cluster.
        store_bytes: In its object stores.
        num_files: In the temporary folder of all processes, and in the session's.
    """

    memory_kb: tuple[int, ...]
    num_open: tuple[int, ...]
    num_actors: int
    store_bytes: int
    num_files: int

    @classmethod
    def of(cls, driver: psutil.Process, cluster: Raylets, temporary: Path) -> "Sample":
        processes = [driver, *(process for name in PROCESSES[1:] for process in cluster.workers(name))]
        assert len(processes) == len(PROCESSES), processes
        state = cluster.state()
        folders = (temporary, Path(cluster.session_folder))
        return cls(
            tuple(process.memory_info().rss // 1024 for process in processes),
            tuple(process.num_fds() for process in processes),
            len(state["actors"]),
            state["object_bytes"],
            sum(len(list(folder.rglob("*"))) for folder in folders),
        )


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """One for each cycle, taken from outside."""
    workspace, temporary = tmp_path_factory.mktemp("workspace"), tmp_path_factory.mktemp("temporary")
    succeed("prepare", *ARGUMENTS, "--workspace", workspace)
    environ = MEMORY | {"TMPDIR": str(temporary)}
    _, trained, _ = datasets(workspace)
    found: list[Sample] = []
    with raylets(4, environ=environ) as cluster:
        place = ("--workspace", workspace, "--cluster.address", cluster.address)
        loop = start("loop", *ARGUMENTS, *place, environ=cluster.environ | environ)
        for step in range(1, NUM_CYCLES):  # with the last one the loop ends
            while step not in trained.numbers():
                assert loop.poll() is None, ended(loop)
                time.sleep(0.02)
            found.append(Sample.of(psutil.Process(loop.pid), cluster, temporary))
        code, words = ended(loop)
    assert code == 0, words
    return found


def slope(values: Sequence[float]) -> float:
    """What a cycle adds: the median of the slopes between any two, which single jumps up and down do not move."""
    return float(theilslopes(values).slope)


def test_twenty_cycles_of_mining_and_training_leak_nothing(samples: list[Sample]) -> None:
    print(f"seed {SEED}: cycle, kB and open files of {', '.join(PROCESSES)}, actors, bytes in the store, files")
    for cycle, sample in enumerate(samples, start=1):
        print(f"{cycle:3d}", *vars(sample).values(), sep="  ")
    warm = samples[FIRST - 1 :]
    slopes = [slope([sample.memory_kb[index] for sample in warm]) for index in range(len(PROCESSES))]
    print("kB a cycle from the fifth on:", dict(zip(PROCESSES, (round(one) for one in slopes), strict=True)))
    assert max(slopes) < MAX_KB_A_CYCLE
    for index, name in enumerate(PROCESSES):
        opened = [sample.num_open[index] for sample in warm]
        assert max(opened) - opened[0] <= MAX_FILES_MORE, name
    assert {sample.num_actors for sample in warm} == {warm[0].num_actors}
    stored = [sample.store_bytes for sample in warm]
    assert min(stored[-5:]) - min(stored[:5]) < MAX_STORE_BYTES_MORE
    assert {sample.num_files for sample in warm} == {warm[0].num_files}
