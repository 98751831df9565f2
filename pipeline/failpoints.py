"""Places where a test may kill the process, to prove what a crash there leaves behind.

    MOTHERLODE_FAILPOINTS="publish.manifest=kill, embed.part-stored=raise@3"   # at the first arrival; at the third
    MOTHERLODE_FAILPOINTS="publish.part=kill@2, publish.part=kill@5"          # at both
    MOTHERLODE_FAILPOINTS_FOLDER=/some/empty/folder                           # all arrivals, one file each

Arrivals are counted over all processes that share the folder: what is killed once and started again is not killed
again. Without these variables, which belong to tests, a place costs one look at an empty dict.
"""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

VARIABLE, FOLDER_VARIABLE = "MOTHERLODE_FAILPOINTS", "MOTHERLODE_FAILPOINTS_FOLDER"


class Failpoint(StrEnum):
    """Every place: before a step, or (past tense) just after it."""

    FILE_WRITTEN = "store.file-written"
    """A temporary file is complete and durable, and has yet to get its name."""
    FILE_NAMED = "store.file-named"
    """It has its name; its temporary one is still there where that was a link."""
    PART = "publish.part"
    PART_PUT = "publish.part-put"
    MANIFEST = "publish.manifest"
    """All parts stand; the manifest does not."""
    MANIFEST_CREATED = "publish.manifest-created"
    """The manifest stands, and its writer has yet to hear so."""
    PART_ENCODED = "embed.part-encoded"
    PART_STORED = "embed.part-stored"
    SHARD_LOADED = "mine.shard-loaded"
    BLOCK_SEARCHED = "mine.block-searched"
    """By an actor, which has yet to say so."""
    BLOCK_TAKEN = "mine.block-taken"
    """By the driver, into the shards of the transaction."""
    CHECKPOINT = "checkpoint.serialised"
    CHECKPOINT_PUBLISHED = "checkpoint.published"
    """The workers have yet to agree on it."""
    RUN_TRAINED = "study.run-trained"
    """Of a comparison or a sweep: its driver has the result, and has yet to store it."""
    TOMBSTONE = "prune.tombstone"
    """It is there, and so is the manifest that it takes the place of."""
    MANIFEST_DELETED = "prune.manifest-deleted"
    OBJECT_DELETED = "prune.object-deleted"


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise RuntimeError("a failpoint")


def _hang() -> None:
    time.sleep(86_400.0)


_ACTIONS: Mapping[str, Callable[[], None]] = {"kill": _kill, "raise": _raise, "hang": _hang}


def reach(place: Failpoint) -> None:
    """Says that a place is reached; does nothing unless a test has armed it."""
    if _FOLDER is None:
        return
    arrival = _arrive(_FOLDER, place)
    action = _ARMED.get((place, arrival))
    if action is not None:
        print(f"failpoint {place}, arrival {arrival}: {action}", file=sys.stderr, flush=True)  # noqa: T201
        _ACTIONS[action]()


def arrivals(folder: Path, place: Failpoint) -> int:
    """How often a place was reached by all processes that were given the folder."""
    return len(list(folder.glob(f"{place}.*")))


def _arrive(folder: Path, place: Failpoint) -> int:
    for number in itertools.count(1):
        try:
            (folder / f"{place}.{number}").open("x").close()
        except FileExistsError:
            continue
        return number
    raise AssertionError


def _parse(text: str) -> dict[tuple[Failpoint, int], str]:
    """``"PLACE=ACTION[@N], ..."``; a name that nothing reaches would be a test that cannot fail."""
    armed = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        place, _, rest = item.partition("=")
        action, _, arrival = rest.partition("@")
        if action not in _ACTIONS:
            raise ValueError(f"{VARIABLE}: {item!r} names no action: use one of {', '.join(_ACTIONS)}")
        armed[Failpoint(place), int(arrival or 1)] = action
    return armed


_ARMED = _parse(os.environ.get(VARIABLE, ""))
_FOLDER = Path(os.environ[FOLDER_VARIABLE]) if FOLDER_VARIABLE in os.environ else None
if _ARMED and _FOLDER is None:
    raise ValueError(f"{VARIABLE} needs {FOLDER_VARIABLE}, where arrivals are counted")
