"""Every job by `ray job submit`, `ray job stop` and again, on a cluster that asks for a token."""

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.failpoints import FOLDER_VARIABLE, VARIABLE, Failpoint
from pipeline.mining.backends.native.compiled import unavailable_reason
from pipeline.storage.leases import list_leases
from pipeline.storage.workspace import Workspace
from tests.support.jobs import ROOT, TINY, call, succeed
from tests.support.raylets import wait_until
from tests.support.token_cluster import RAY, RAYS_OWN, TokenCluster, ask
from tests.unit.corpus.samples import png, write_folder

NUM_AT_ONCE = 4
STOPPED = "stopped; run the same command to go on"
NUM_SETS, NUM_PEOPLE, NUM_IMAGES = 4, 5, 3
"""Of a folder that looks like LFW's."""


@dataclass(frozen=True)
class Case:
    """A job that is stopped once it is at work.

    Attributes:
        flags: After the name of the job.
        at_work: What it has reached then: arrival so-and-so at a failpoint, where it, or an actor of it, hangs.
        then: Words of the same command when it runs again, here.
        start: What its workspace holds.
    """

    flags: tuple[str, ...]
    at_work: tuple[Failpoint, int]
    then: str
    start: str = "prepared"


CASES = {
    "prepare": Case((), (Failpoint.PART, 2), "714 examples of 60 labels — published", "empty"),
    "mine": Case((), (Failpoint.BLOCK_SEARCHED, 2), "— published in"),
    "train": Case(("--training.source=random",), (Failpoint.CHECKPOINT, 3), "checkpoint 6 of 6 steps stands"),
    "loop": Case((), (Failpoint.CHECKPOINT, 3), "report: "),
    "evaluate": Case((), (Failpoint.PART_ENCODED, 2), "recall", "mined"),
    "export": Case((), (Failpoint.PART_ENCODED, 2), "714 embeddings", "mined"),
    "triplets": Case(("report",), (Failpoint.FILE_WRITTEN, 1), "report.html", "mined"),
    "prune": Case(("--retention.grace_s=0",), (Failpoint.OBJECT_DELETED, 2), "freed", "littered"),
    "compare": Case(
        ("--arms", "in_batch", "random", "--seeds=1", "--images=48", "--points=1"),
        (Failpoint.RUN_TRAINED, 2),
        "2 runs compared",
    ),
    "sweep": Case(("--values", "8", "16", "--seeds=1", "--images=48"), (Failpoint.RUN_TRAINED, 2), "2 runs"),
    "crossvalidate": Case(
        (
            "--corpus.source.kind=image_folder",
            "--corpus.source.path={lfw}/images",
            "--evaluation.lfw.folder={lfw}",
            "--training.steps_per_round=6",
        ),
        (Failpoint.BLOCK_SEARCHED, 1),
        "LFW View 2, image-restricted: accuracy",
        "empty",
    ),
    "benchmark": Case(
        ("embed", "--labels=10", "--rounds=1", "--output={workspace}/benchmark"),
        (Failpoint.FILE_WRITTEN, 1),
        "written: ",
        "empty",
    ),
    "doctor": Case((), (Failpoint.FILE_WRITTEN, 1), "✓ │ cluster"),
    "plan": Case((), (Failpoint.FILE_WRITTEN, 1), "a refresh of 714 examples"),
}
"""Every job there is."""
SLOW = {"crossvalidate": pytest.mark.slow}  # it trains twice, in workspaces of their own


@dataclass(frozen=True)
class Course:
    """What came of a case.

    Attributes:
        words: Of the run that was stopped, with those of Ray.
        status: Of it.
        actors: Of its driver, a moment after.
        leases: Active a moment after: their holders, and the names of locks.
        command: What was submitted.
    """

    words: str
    status: str
    actors: list[str]
    leases: list[str]
    command: list[str]


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Workspaces to begin with, and a folder that looks like LFW's."""
    folder = tmp_path_factory.mktemp("starts")
    found = {name: folder / name for name in ("empty", "prepared", "mined", "littered")}
    found["empty"].mkdir()
    succeed("prepare", *TINY, "--workspace", found["prepared"])
    shutil.copytree(found["prepared"], found["mined"])
    succeed("mine", *TINY, "--workspace", found["mined"])
    shutil.rmtree(found["mined"] / "embeddings")
    shutil.copytree(found["mined"], found["littered"])
    generations = found["littered"] / "runs" / "main" / "generations" / "data"
    shutil.copytree(next(generations.iterdir()), generations / f"1-{'f' * 32}")  # of a writer that was killed
    write_faces(folder / "lfw")
    return found


def write_faces(folder: Path) -> None:
    """Images, and the official files that list them: pairs of one person, and of two, of every set."""
    sets = [[f"Person_{number}_{one}" for one in range(NUM_PEOPLE)] for number in range(NUM_SETS)]
    pairs, people = [f"{NUM_SETS}\t{NUM_PEOPLE}"], [str(NUM_SETS)]
    files: dict[str, bytes] = {}
    for names in sets:
        people += [str(len(names)), *(f"{name}\t{NUM_IMAGES}" for name in names)]
        pairs += [f"{name}\t1\t2" for name in names]
        pairs += [f"{name}\t1\t{other}\t3" for name, other in zip(names, names[1:] + names[:1], strict=True)]
        for name in names:
            images = (f"{name}/{name}_{number:04d}.png" for number in range(1, NUM_IMAGES + 1))
            files |= {image: png(seed=len(files) + offset, size=16) for offset, image in enumerate(images)}
    write_folder(folder / "images", files)
    for name, lines in (("pairs.txt", pairs), ("people.txt", people)):
        (folder / name).write_text("\n".join(lines) + "\n")


def command_of(name: str, case: Case, workspace: Path, lfw: Path) -> list[str]:
    flags = [flag.format(workspace=workspace, lfw=lfw) for flag in case.flags]
    known = {flag.partition("=")[0] for flag in flags}
    tiny = [flag for flag in TINY if flag.partition("=")[0] not in known]
    return [sys.executable, "-m", f"jobs.{name}", *flags, *tiny, f"--workspace={workspace}"]


def disturb(cluster: TokenCluster, name: str, case: Case, folder: Path, start: Path) -> Course:
    """Submits a job from a working directory, and stops it at its work."""
    workspace, arrivals = folder / "workspace", folder / "arrivals"
    arrivals.mkdir(parents=True)
    shutil.copytree(start, workspace)
    command = command_of(name, case, workspace, start.parent / "lfw")
    place, arrival = case.at_work
    environ = {VARIABLE: f"{place}=hang@{arrival}", FOLDER_VARIABLE: str(arrivals)}
    reached = arrivals / f"{place}.{arrival}"
    with cluster.submit(name, *command, environ=environ) as job:
        wait_until(f"{name} is at work", lambda: reached.exists() or job.poll() is not None)
        assert reached.exists(), rest_of(job)
        driver = cluster.job(name)["job_id"]
        assert ask(cluster.address, f"/api/jobs/{name}/stop", cluster.token, {})[0] == 200
        words = rest_of(job)
    status = cluster.job(name)["status"]
    leases = [str(lease.record) for lease in list_leases(Workspace.open(str(workspace), "main").store)]
    leases += [path.name for path in workspace.glob("leases/*") if not path.name.startswith("reader-")]
    wait_until(f"the actors of {name} are gone", lambda: not left(cluster, driver))
    return Course(words, status, left(cluster, driver), leases, command)


def rest_of(job: "subprocess.Popen[str]") -> str:
    assert job.stdout is not None
    return job.stdout.read()


def left(cluster: TokenCluster, driver: str | None) -> list[str]:
    """Actors of a driver, where it had joined the cluster."""
    return [] if driver is None else [one for one in cluster.living_actors(driver) if one not in RAYS_OWN]


@pytest.fixture(scope="module")
def courses(
    request: pytest.FixtureRequest,
    cluster: TokenCluster,
    starts: Mapping[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, "Future[Course]"]]:
    """The cases of the tests that were chosen, several at once."""
    folder = tmp_path_factory.mktemp("courses")
    chosen = [
        item for item in request.session.items if isinstance(item, pytest.Function) and "courses" in item.fixturenames
    ]
    wanted = {item.callspec.params["name"] if hasattr(item, "callspec") else "mine" for item in chosen}
    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        yield {
            name: threads.submit(disturb, cluster, name, CASES[name], folder / name, starts[CASES[name].start])
            for name in CASES
            if name in wanted
        }


def test_every_job_is_tried() -> None:
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert CASES.keys() == jobs


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in CASES])
def test_a_submitted_job_stops_cleanly_and_the_same_command_goes_on(
    courses: dict[str, "Future[Course]"], name: str
) -> None:
    course = courses[name].result()
    assert course.status == "STOPPED" and STOPPED in course.words, course.words
    assert (course.actors, course.leases) == ([], [])
    said = io.StringIO()
    code, shown = call(name, *course.command[3:], stderr=said)  # on a Ray of its own: the workspace is all they share
    assert code == 0 and CASES[name].then in said.getvalue() + shown, said.getvalue()


def test_a_working_directory_brings_the_compiled_scan_and_little_else(
    cluster: TokenCluster, courses: dict[str, "Future[Course]"]
) -> None:
    with cluster.submit("listing", "find", ".", "-type", "f", "-size", "-100M") as job:
        files = {line.strip() for line in rest_of(job).splitlines() if line.startswith("./")}
    assert {"./jobs/mine.py", "./jobs/configs/demo.yaml", "./pipeline/runtime/session.py"} <= files
    tops = {file.split("/")[1] for file in files}
    assert not tops & {"tests", "docs", "build", "dist", ".git", ".venv", ".mypy_cache", "workspace"}
    if unavailable_reason() is None:
        assert "mining backend: native" in courses["mine"].result().words


def test_a_refresh_that_is_submitted_again_as_from_a_baked_image_has_nothing_to_do(
    cluster: TokenCluster, starts: Mapping[str, Path]
) -> None:
    command = (sys.executable, "-m", "jobs.mine", *TINY, f"--workspace={starts['mined']}")
    with cluster.submit("mine-once-more", *command, working_dir=False) as job:
        words = rest_of(job)
    assert "generation 0" in words and "nothing to do" in words and "succeeded" in words


def test_nobody_submits_lists_reads_or_stops_without_the_token(cluster: TokenCluster, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    own = ("submit", "--no-wait", "--submission-id", "own", "--", "sh", "-c", "echo secret; sleep 600")
    assert cluster.ray("job", *own).returncode == 0
    wait_until("it runs", lambda: "secret" in ask(cluster.address, "/api/jobs/own/logs", cluster.token)[1])
    words = (
        ("submit", "--no-wait", "--submission-id", "theirs", "--", "touch", str(mark)),
        ("list",), ("logs", "own"), ("status", "own"), ("stop", "own"), ("delete", "own"),
    )  # fmt: skip
    nobody = {name: value for name, value in cluster.environ.items() if not name.startswith("RAY_AUTH_")}
    nobody["HOME"] = str(tmp_path)  # where a token may lie, too
    guesser = nobody | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        tries = {one: threads.submit(try_to, one, nobody) for one in words}
        tries |= {("guess", *one): threads.submit(try_to, one, guesser) for one in words[:2]}
        for one, done in tries.items():
            assert done.result().returncode != 0, one
            assert "secret" not in done.result().stdout + done.result().stderr
    body = {"entrypoint": f"touch {mark}", "submission_id": "theirs"}
    for token in (None, "0" * 64):
        for path, sent in (("", None), ("", body), ("own", None), ("own/logs", None), ("own/stop", {})):
            status, found = ask(cluster.address, f"/api/jobs/{path}", token, sent)
            assert status in (401, 403) and "secret" not in found, path
    assert cluster.job("own")["status"] == "RUNNING"
    assert ask(cluster.address, "/api/jobs/theirs", cluster.token)[0] == 404 and not mark.exists()
    follow = [RAY, "job", "logs", "--follow", "own"]
    followed = subprocess.Popen(follow, env=cluster.environ, stdout=subprocess.PIPE, text=True)
    stopped = cluster.ray("job", "stop", "own")
    assert "was stopped" in stopped.stdout + stopped.stderr
    assert "secret" in rest_of(followed) and followed.wait() == 0
    assert "'own' was stopped" in cluster.ray("job", "status", "own").stdout


def try_to(words: tuple[str, ...], environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """``ray job WORDS`` with another environment than the owner's."""
    return subprocess.run([RAY, "job", *words], env=environ, capture_output=True, text=True, check=False)
