"""jobs.prune beside readers and writers, killed in its tracks, and under clocks that are off by a day."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.config import RetentionConfig
from pipeline.errors import InputError
from pipeline.failpoints import Failpoint
from pipeline.retention.prune import prune
from pipeline.storage.leases import acquire_pins
from pipeline.storage.object_store import ObjectStore, open_store
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.faults.job_server import JobServer
from tests.faults.kills import armed
from tests.support.jobs import environment
from tests.unit.triplets.samples import manifest_of, publish, triplets

SEED = 7
NUM_GENERATIONS = 60
RETENTION = RetentionConfig(keep_generations=1, keep_checkpoints=1, grace_s=0.0)
FLAGS = ("--retention.keep_generations=1", "--retention.keep_checkpoints=1", "--retention.grace_s=0")


@pytest.fixture
def workspace(store: ObjectStore) -> Workspace:
    """An empty one."""
    return Workspace(store, "main")


def publish_next(workspace: Workspace, number: int) -> None:
    """Publishes as a refresh does: the parts of its transaction are pinned until the commit."""
    dataset = generations(workspace)
    transaction = dataset.begin(number)
    with acquire_pins(workspace.store, "a refresh", f"{dataset.data_folder(number, transaction.writer)}/").renewing():
        for index in range(3):
            transaction.add_part("triplets", f"triplets-{index:05d}.parquet", os.urandom(200), 1)
        parent = {"parent": number - 1 if number else None}
        assert transaction.commit(manifest_of(transaction, 3).model_copy(update=parent))[1]


def read_pinned(workspace: Workspace, ended: threading.Event, seed: int) -> Iterator[int]:
    """Pins some generation, reads it part by part while others come and go, and yields its number; repeatedly."""
    dataset, rng = generations(workspace), random.Random(seed)
    while not ended.is_set():
        numbers = dataset.numbers()
        if not numbers:
            continue
        number = rng.choice(numbers)
        with acquire_pins(workspace.store, "a trainer", dataset.manifest_key(number)).renewing():
            try:
                manifest = dataset.read(number)
            except InputError:
                continue  # it was pruned between the listing and the pin: list again
            for _ in range(3):
                for part in manifest.parts:
                    dataset.read_part(part)  # raises where it is missing or torn
        yield number


def test_beside_two_tight_loops_of_prunes_no_pinned_object_is_ever_missing(workspace: Workspace) -> None:
    publish_next(workspace, 0)
    ended = threading.Event()

    def write() -> None:
        try:
            for number in range(1, NUM_GENERATIONS):
                publish_next(workspace, number)
        finally:
            ended.set()

    def prune_until_the_end() -> int:
        num_prunes = 0
        while not ended.is_set():
            prune(workspace, RETENTION)
            num_prunes += 1
        return num_prunes

    with ThreadPoolExecutor(6) as threads:
        readers = [threads.submit(list, read_pinned(workspace, ended, SEED + index)) for index in range(3)]
        prunes = [threads.submit(prune_until_the_end) for _ in range(2)]
        threads.submit(write).result()
    read = [number for reader in readers for number in reader.result()]
    num_prunes = min(loop.result() for loop in prunes)
    print(f"seed {SEED}: {num_prunes} prunes beside {len(read)} reads of {len(set(read))} of {NUM_GENERATIONS}")
    assert num_prunes > 5 and len(set(read)) > 5
    for _ in range(2):
        prune(workspace, RETENTION)
    assert generations(workspace).numbers() == [NUM_GENERATIONS - 2, NUM_GENERATIONS - 1]
    folders = {key.split("/")[4] for key in workspace.store.list(f"{workspace.generations_prefix}/data")}
    assert len(folders) == 2, "and no garbage is left"


def history(folder: Path) -> Path:
    """A workspace with five generations, and what a dead transaction left."""
    for number in range(5):
        publish(folder, [triplets(3, seed=number)], 10, number=number)
    dataset = generations(Workspace(open_store(str(folder)), "main"))
    dataset.begin(5).add_part("triplets", "triplets-00000.parquet", b"dead", 1)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_prune_killed_anywhere_leaves_whole_generations_and_the_next_one_ends_it(tmp_path: Path) -> None:
    undisturbed = history(tmp_path / "undisturbed")
    workspace = Path(shutil.copytree(undisturbed, tmp_path / "w"))
    kills = {place: (1, 2) for place in Failpoint if place.startswith("prune.")}
    environ, deaths = armed(tmp_path / "failpoints", kills), list[str]()
    num_undisturbed = 0
    with JobServer(tmp_path / "log", environment(**environ), "prune") as jobs:
        while num_undisturbed < 2:  # parts of what gets a tombstone in the first are deleted in the second
            code, words = jobs.run("prune", *FLAGS, "--workspace", workspace)
            readable(workspace)
            killed = re.findall("failpoint (.*): kill", words)
            assert code == (-signal.SIGKILL if killed else 0), words
            num_undisturbed += not killed
            deaths += killed
    print("killed at", deaths)
    assert sorted(deaths) == sorted(f"{place}, arrival {number}" for place in kills for number in (1, 2))
    for _ in range(2):
        prune(Workspace(open_store(str(undisturbed)), "main"), RETENTION)
    assert contents(workspace) == contents(undisturbed)


def readable(folder: Path) -> None:
    """Asserts that every published generation is whole, and that the newest one is published."""
    dataset = generations(Workspace(open_store(str(folder)), "main"))
    assert dataset.numbers()[-1] == 4
    for number in dataset.numbers():
        for shard in range(Generation(dataset, dataset.read(number)).num_shards):
            Generation(dataset, dataset.read(number)).shard(shard)


SHIFTED_CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static time_t shift(void) { return atol(getenv("CLOCK_SHIFT_S")); }
int clock_gettime(clockid_t id, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(id, now);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) now->tv_sec += shift();
    return code;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int code = real(now, zone);
    now->tv_sec += shift();
    return code;
}
time_t time(time_t *out) {
    time_t (*real)(time_t *) = dlsym(RTLD_NEXT, "time");
    time_t now = real(0) + shift();
    if (out) *out = now;
    return now;
}
"""


@pytest.fixture(scope="module")
def shifted_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that moves the clock of the process that it is loaded into; files still get the kernel's time."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler, which moving a process's clock needs")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SHIFTED_CLOCK)
    library = folder / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "clock.c", "-ldl"], check=True)
    return library


@pytest.mark.parametrize("shift_s", [-86_400, 86_400])
def test_a_clock_off_by_a_day_collects_nothing_that_is_live(shift_s: int, shifted_clock: Path, tmp_path: Path) -> None:
    workspace = history(tmp_path / "w")
    shifted = {"LD_PRELOAD": str(shifted_clock), "CLOCK_SHIFT_S": str(shift_s)}
    tell = [sys.executable, "-c", "import time; print(time.time())"]
    now, then = (
        float(subprocess.run(tell, env=environment(**more), capture_output=True, check=True).stdout)
        for more in ({}, shifted)
    )
    assert abs(then - now - shift_s) < 60, "the clock is off"
    dataset = generations(Workspace(open_store(str(workspace)), "main"))
    parts = {key for key in contents(workspace) if "/data/" in key}
    living = dataset.begin(5)
    living.add_part("triplets", "triplets-00000.parquet", b"living", 1)
    pinned = dataset.manifest_key(1)
    with (
        acquire_pins(dataset.store, "a trainer", pinned, f"{dataset.data_folder(5, living.writer)}/").renewing(),
        JobServer(tmp_path / "log", environment(**shifted), "prune") as jobs,
    ):
        # Half a day's grace: a day's error in either direction would decide wrongly about everything there is.
        for _ in range(2):
            half_a_day = (*FLAGS[:2], "--retention.grace_s=43200")
            assert jobs.run("prune", *half_a_day, "--workspace", workspace)[0] == 0
        assert parts <= contents(workspace).keys(), "all of it was stored a moment ago"
        assert dataset.numbers() == [1, 4], "a lease is in force whatever the clock says"
        for _ in range(2):
            assert jobs.run("prune", *FLAGS, "--workspace", workspace)[0] == 0
        assert dataset.numbers() == [1, 4]
        assert living.commit(manifest_of(living, 1))[1]
    assert dataset.read_part(dataset.read(5).parts[0]) == b"living"
