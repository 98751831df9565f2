"""kill -9 at every arrival at each step of publishing, in a folder and on S3, by a process that does nothing else."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.failpoints import Failpoint, arrivals
from pipeline.storage.keys import TEMPORARY_PREFIX
from pipeline.storage.object_store import open_store
from tests.faults.kills import Reader, armed
from tests.faults.publish_two import NUMBERS, PARTS, part_of, publish
from tests.support.jobs import ROOT, environment
from tests.support.s3_server import S3Server
from tests.unit.storage.samples import things

ARRIVALS_A_NUMBER = {
    Failpoint.FILE_WRITTEN: len(PARTS) + 1,
    Failpoint.FILE_NAMED: len(PARTS) + 1,
    Failpoint.PART: len(PARTS),
    Failpoint.PART_PUT: len(PARTS),
    Failpoint.MANIFEST: 1,
    Failpoint.MANIFEST_CREATED: 1,
}
BEHIND_THE_COMMIT = {Failpoint.FILE_NAMED, Failpoint.MANIFEST_CREATED}
PLACES = [place for place in Failpoint if place.startswith(("store.", "publish."))]


def kill_and_go_on(uri: str, place: Failpoint, arrival: int, folder: Path) -> None:
    """Kills a publisher at one arrival and publishes what is missing, before the eyes of a reader."""
    dataset, command = things(open_store(uri)), [sys.executable, "-m", "tests.faults.publish_two", uri]
    with Reader([dataset]) as reader:
        environ = environment(**armed(folder, {place: [arrival]}))
        assert subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode == -signal.SIGKILL
        assert arrivals(folder, place) == arrival
        reader.look()
        num_done = (arrival if place in BEHIND_THE_COMMIT else arrival - 1) // ARRIVALS_A_NUMBER[place]
        print(f"killed at {place}, arrival {arrival}: published {dataset.numbers()}")
        assert dataset.numbers() == list(range(num_done)), "the old or the complete new"
        publish(uri)
    stored = [[dataset.read_part(part) for part in dataset.read(number).parts] for number in NUMBERS]
    assert dataset.numbers() == list(NUMBERS)
    assert stored == [[part_of(number, part) for part in PARTS] for number in NUMBERS]


@pytest.mark.parametrize("place", PLACES)
def test_a_publisher_killed_at_any_step_leaves_the_old_or_the_complete_new_in_a_folder(
    place: Failpoint, tmp_path: Path
) -> None:
    for arrival in range(1, len(NUMBERS) * ARRIVALS_A_NUMBER[place] + 1):
        workspace = tmp_path / f"workspace-{arrival}"
        kill_and_go_on(str(workspace), place, arrival, tmp_path / f"arrivals-{arrival}")
        is_manifest = arrival % ARRIVALS_A_NUMBER[place] == 0
        is_left = place is Failpoint.FILE_WRITTEN or (place is Failpoint.FILE_NAMED and is_manifest)  # that is a link
        assert len(list(workspace.rglob(f"{TEMPORARY_PREFIX}*"))) == is_left, "the reader had something not to see"


@pytest.mark.parametrize("place", [place for place in PLACES if place.startswith("publish.")])
def test_a_publisher_killed_at_any_step_leaves_the_old_or_the_complete_new_on_s3(
    place: Failpoint, s3_environment: S3Server, tmp_path: Path
) -> None:
    for arrival in range(1, len(NUMBERS) * ARRIVALS_A_NUMBER[place] + 1):
        uri = f"s3://{s3_environment.bucket}/{tmp_path.name}-{arrival}"
        kill_and_go_on(uri, place, arrival, tmp_path / f"arrivals-{arrival}")
