"""Twelve processes publish the same twenty numbers at the same moments, while others read."""

import functools
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import open_store
from pipeline.storage.publish import VersionedDataset
from tests.support.jobs import ROOT, environment
from tests.support.s3_server import S3Server

NUM_PUBLISHERS, NUM_NUMBERS = 12, 20
ROWS = 2_000


@functools.cache
def things(uri: str) -> VersionedDataset[Manifest]:
    return VersionedDataset(open_store(uri), "things", Manifest)


def publish(name: str) -> None:
    """A publisher: for each number that it is told, puts a part, waits for the word, commits, and says how it went."""
    for line in sys.stdin:
        uri, number = line.split()
        transaction = things(uri).begin(int(number))
        transaction.add_part("rows", "part.bin", content(name, transaction.number), ROWS)
        manifest = Manifest(**transaction.manifest_fields(), parent=None, seed=0, config_digest=name)
        print("ready", flush=True)
        sys.stdin.readline()
        committed, ours = transaction.commit(manifest)
        print(json.dumps({"mine": transaction.writer, "committed": committed.writer, "ours": ours}), flush=True)


def content(name: str, number: int) -> bytes:
    """What a publisher publishes under a number."""
    return f"{name} {number} ".encode() * ROWS


def tell(publishers: dict[str, "subprocess.Popen[str]"], word: str) -> None:
    for publisher in publishers.values():
        assert publisher.stdin is not None
        print(word, file=publisher.stdin, flush=True)


def hear(publishers: dict[str, "subprocess.Popen[str]"]) -> list[str]:
    return [one.stdout.readline().strip() for one in publishers.values() if one.stdout is not None]


@pytest.fixture(scope="module")
def publishers(s3_server: S3Server) -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """Twelve of them, by name; they may write to the server."""
    with ExitStack() as ends:
        started = {
            name: ends.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.faults.test_publishers", name],
                    cwd=ROOT,
                    env=environment(**s3_server.environment()),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for name in (f"publisher-{index}" for index in range(NUM_PUBLISHERS))
        }
        yield started
    assert [one.returncode for one in started.values()] == [0] * NUM_PUBLISHERS


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_of_twelve_publishers_one_wins_each_of_twenty_numbers_and_every_manifest_is_whole(
    kind: str, publishers: dict[str, "subprocess.Popen[str]"], s3_environment: S3Server, tmp_path: Path
) -> None:
    uri = str(tmp_path) if kind == "local" else f"s3://{s3_environment.bucket}/{uuid.uuid4().hex}"
    published, winners = things(uri), []
    for number in range(NUM_NUMBERS):
        tell(publishers, f"{uri} {number}")
        assert hear(publishers) == ["ready"] * NUM_PUBLISHERS
        tell(publishers, "commit")
        while (seen := published.numbers())[-1:] != [number]:
            assert seen == list(range(number)), "a reader sees the numbers before"
        at_once = published.read(number)  # others are still trying
        assert published.read_part(at_once.parts[0]) == content(at_once.config_digest, number)
        outcomes = [json.loads(words) for words in hear(publishers)]
        assert [outcome["mine"] for outcome in outcomes if outcome["ours"]] == [at_once.writer], "one winner"
        assert {outcome["committed"] for outcome in outcomes} == {at_once.writer}, "all agree on what stands"
        winners.append(at_once)
    assert published.numbers() == list(range(NUM_NUMBERS))
    assert [published.read(number) for number in range(NUM_NUMBERS)] == winners, "what stood at once stands still"
    print(f"numbers won: { {name: [one.config_digest for one in winners].count(name) for name in publishers} }")


if __name__ == "__main__":
    publish(*sys.argv[1:])
