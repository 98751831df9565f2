"""Whole jobs on an object store that fails, lies, or lets nobody write."""

import uuid
from pathlib import Path

import pytest

from pipeline.encoders.checkpoints import checkpoints
from pipeline.storage.object_store import open_store
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.faults.store_faults import drop_answer, flip, ignore_condition, internal_error, reset, slow_down
from tests.faults.store_proxy import FOREVER, StoreProxy
from tests.support.jobs import TINY, Finished, rounds, run, run_apart, succeed
from tests.support.s3_server import READER_ACCESS_KEY, READER_SECRET_KEY, S3Server

ONE_STEP = (*TINY, *rounds(1, 1))


@pytest.fixture(scope="module")
def mined(warm_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in a folder, with a generation to train on."""
    place = tmp_path_factory.mktemp("mined")
    for name in ("prepare", "mine"):
        succeed(name, *ONE_STEP, f"--workspace={place}")
    return place


@pytest.fixture
def uri(s3_environment: S3Server) -> str:
    """An empty prefix."""
    return f"s3://{s3_environment.bucket}/{uuid.uuid4().hex}"


def copy(source: Path, uri: str) -> Workspace:
    """The same objects in another store."""
    origin, workspace = open_store(str(source)), Workspace.open(uri, "main")
    for key in origin.list(""):
        workspace.store.put(key, origin.get(key))
    return workspace


def assert_one_sentence(finished: Finished, code: int, *words: str) -> None:
    errors = [line for line in finished.words.splitlines() if line.startswith("error: ")]
    assert (finished.code, len(errors)) == (code, 1), finished.words
    assert "Traceback" not in finished.words
    assert all(word in errors[0] for word in words), errors[0]


def test_a_truncated_or_flipped_shard_is_named_and_not_one_step_is_trained_on_it(
    mined: Path, uri: str, tmp_path: Path, store_proxy: StoreProxy
) -> None:
    workspace = copy(mined, str(tmp_path))
    (part,) = generations(workspace).read(0).parts_of("triplets")
    workspace.store.put(part.key, workspace.store.get(part.key)[:-1])
    train = ("train", *ONE_STEP, "--workspace")
    torn = f"has {part.num_bytes - 1} bytes instead of {part.num_bytes}"
    assert_one_sentence(run(*train, tmp_path), 4, part.key, torn)
    assert checkpoints(workspace).numbers() == [0], "a step would have made a checkpoint"

    workspace = copy(mined, uri)
    store_proxy.inject(flip, on="^GET .*/triplets-", times=FOREVER)
    assert_one_sentence(run_apart(*train, uri), 4, part.key, "checksum")
    assert checkpoints(workspace).numbers() == [0]
    assert store_proxy.injected, "the bytes at rest were sound"


def test_a_job_survives_a_store_that_throttles_resets_and_loses_answers(
    mined: Path, uri: str, store_proxy: StoreProxy
) -> None:
    store_proxy.inject(slow_down, on="^PUT .*/examples-", times=2)
    store_proxy.inject(reset, on="^PUT .*/_labels", times=3)
    store_proxy.inject(drop_answer, on="^PUT .*/manifests/")
    done = succeed("prepare", *ONE_STEP, f"--workspace={uri}")
    assert len(store_proxy.injected) == 6
    assert done.report["published"] is True, "the lost answer was to our own commit"
    undisturbed = succeed("prepare", *ONE_STEP, f"--workspace={mined}").report["corpus"]
    assert done.report["corpus"]["fingerprint"] == undisturbed["fingerprint"]


def test_a_job_gives_up_a_store_that_fails_for_good_with_one_sentence(uri: str, store_proxy: StoreProxy) -> None:
    store_proxy.inject(internal_error, times=FOREVER)
    assert_one_sentence(run("prepare", *ONE_STEP, f"--workspace={uri}"), 4, uri, "500 InternalError")


def test_a_job_refuses_by_name_a_store_that_ignores_conditional_creates(uri: str, store_proxy: StoreProxy) -> None:
    store_proxy.inject(ignore_condition, on="^PUT ", times=FOREVER)
    finished = run("prepare", *ONE_STEP, f"--workspace={uri}")
    assert_one_sentence(finished, 4, uri, "does not honour conditional creates (If-None-Match: *)")
    store_proxy.mend()
    assert open_store(uri).list("") == [], "nothing was written before"


def test_who_may_only_read_can_look_and_is_told_that_the_right_to_write_is_missing(
    mined: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = copy(mined, uri)
    before = workspace.store.list("")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET_KEY)
    looked = succeed("triplets", "summary", f"--workspace={uri}")
    assert looked.report["num_triplets"] == generations(workspace).read(0).num_triplets
    for name in ("prepare", "mine", "train"):
        finished = run(name, *ONE_STEP, f"--workspace={uri}")
        assert_one_sentence(finished, 2, "does not let these credentials write", uri, "right to write there")
        assert READER_SECRET_KEY not in finished.words
    assert workspace.store.list("") == before
