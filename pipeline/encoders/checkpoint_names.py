"""Checkpoints by the names that people give them: RUN:STEP and its short forms."""

import re

from pipeline.config.base import RUN_NAME
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import InputError
from pipeline.storage.workspace import Workspace

CHECKPOINT = re.compile(rf"({RUN_NAME})(?::([0-9]{{1,9}}))?")
LATEST, ALL = "latest", "all"


def find_checkpoint(name: str, workspace: Workspace, setting: str) -> tuple[str, CheckpointManifest]:
    """The run and manifest of the checkpoint that RUN:STEP, or RUN (its newest), names.

    Args:
        name: As it was given.
        workspace: Holds the run.
        setting: Where it was given, for the message.

    Raises:
        InputError: It names none.
    """
    named = CHECKPOINT.fullmatch(name)
    if named is None:
        raise InputError(f"{setting} {name!r} is no checkpoint of this workspace: name RUN:STEP, or RUN for its newest")
    run, step = named.groups()
    of_run = Workspace(workspace.store, run)
    return run, checkpoints(of_run).read(find_step(step or LATEST, of_run, f"{setting} {name!r}"))


def find_checkpoints(name: str, workspace: Workspace, flag: str) -> list[tuple[str, int]]:
    """The runs and steps that a command line names.

    Args:
        name: A step; ``latest`` or ``all``; RUN, for its newest; or RUN:STEP, RUN:latest, RUN:all.
        workspace: Its run is meant where none is named.
        flag: Where it was given, for the message.

    Raises:
        InputError: There is no such checkpoint.
    """
    run, colon, which = name.partition(":")
    if not colon:
        is_step = run.isdecimal() or run in (LATEST, ALL)
        run, which = (workspace.run, run) if is_step else (run, LATEST)
    of_run, named = Workspace(workspace.store, run), f"{flag} {name!r}"
    steps = _steps(of_run, named) if which == ALL else [find_step(which, of_run, named)]
    return [(run, step) for step in steps]


def find_step(which: str, workspace: Workspace, named: str) -> int:
    """The step of the workspace's run that ``which`` names: a number, or ``latest``.

    Raises:
        InputError: The run has no such checkpoint; the message begins with ``named``, what was given and where.
    """
    steps = _steps(workspace, named)
    if which == LATEST:
        return steps[-1]
    if not which.isdecimal() or int(which) not in steps:
        raise InputError(f"{named}: run {workspace.run!r} has no checkpoint {which}; choose one of {steps}")
    return int(which)


def _steps(workspace: Workspace, named: str) -> list[int]:
    steps = checkpoints(workspace).numbers()
    if not steps:
        raise InputError(f"{named}: run {workspace.run!r} has no checkpoint in {workspace.store.uri}; train it first")
    return steps
