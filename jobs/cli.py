"""What every job shares: the command line, the config, errors as exit codes, and ``--json``."""

import argparse
import json
import logging
import os
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from rich.console import Console, RenderableType

from jobs.graceful_shutdown import graceful_shutdown
from jobs.help import EXIT_CODES, add_help, choose, near
from jobs.settings_file import read_settings
from pipeline.config import RunConfig
from pipeline.corpus.split import read_split
from pipeline.errors import InputError, PipelineError
from pipeline.progress import configure_logging, log
from pipeline.stages.job import Job
from pipeline.storage.workspace import Workspace

SCRIPT, MODULE = "motherlode ", "python -m jobs."
"""What stands before a job's name where it is started by the console script, and as a module."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = 200  # of a wrong value in a message

Report = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a command was asked for, in both forms.

    Attributes:
        report: What ``--json`` prints.
        shown: Tables and lines that people get instead, on stdout; text is shown as it is.
    """

    report: Report
    shown: Sequence[RenderableType] = ()


Run = Callable[[RunConfig, argparse.Namespace], Report | Answer]
AddFlags = Callable[[argparse.ArgumentParser], None]


@dataclass(frozen=True)
class Command:
    """One of the things that a job with several does.

    Attributes:
        words: What it does, for ``--help``.
        run: Resolved config and flags to its answer.
        add_flags: Adds its own flags and arguments.
    """

    words: str
    run: Run
    add_flags: AddFlags = lambda parser: None


def run_job(description: str, run: Run, add_flags: AddFlags = lambda parser: None) -> None:
    """Parses the command line, runs a job, prints its report or answer, and exits."""
    _run(_program(), sys.argv[1:], description, run, add_flags)


def run_commands(description: str, commands: Mapping[str, Command]) -> None:
    """Runs the command that the first word of the command line names, as ``run_job`` runs a job."""
    program = _program()
    words = {name: command.words for name, command in commands.items()}
    name, arguments = choose(program, "command", words, description)
    command = commands[name]
    _run(f"{program} {name}", arguments, command.words, command.run, command.add_flags)


def _program() -> str:
    """How this job was started: ``motherlode JOB`` or ``python -m jobs.JOB``."""
    started = sys.argv[0]
    return started if started.startswith(SCRIPT) else f"{MODULE}{Path(started).stem}"


def _run(program: str, arguments: list[str], description: str, run: Run, add_flags: AddFlags) -> None:
    parser = _Parser(
        usage=f"{program} [--config FILE] [--json] [--KEY VALUE ...]",
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add_help(parser)
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML with any of the settings below")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document on stdout")
    add_flags(parser)
    try:
        with graceful_shutdown():
            config, flags = _parse(parser, arguments)
            configure_logging(config.observe.log_format, program.removeprefix(SCRIPT).removeprefix(MODULE), config.run)
            with redirect_stdout(sys.stderr):  # where an actor dies, Ray says so on stdout: that is for the report
                answer = run(config, flags)
    except PipelineError as error:
        log(f"error: {error}")
        sys.exit(error.exit_code)
    try:
        _print(answer if isinstance(answer, Answer) else Answer(answer), as_json=flags.json)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.report, indent=2))  # noqa: T201 — the one thing that goes to stdout
        return
    console = Console(highlight=False)
    for one in answer.shown:
        console.print(one, markup=False, soft_wrap=isinstance(one, str))


def open_job(config: RunConfig) -> Job:
    """The run, its workspace, and its newest corpus, which the job pins.

    Raises:
        InputError: There is no corpus, or the workspace cannot be written.
    """
    job = Job.open(config)
    job.workspace.check_writable()
    corpus = job.corpus
    split = read_split(config.corpus)
    if corpus.split != split:
        log(
            f"note: corpus {corpus.manifest.number} was prepared with {corpus.split.format_settings()}, which holds; "
            f"the config says {split.format_settings()}"
        )
    return job


def open_to_read(config: RunConfig) -> Workspace:
    """The run's workspace, for a command that only looks: the right to read is enough."""
    return Workspace.open(config.workspace, config.run)


class _Parser(argparse.ArgumentParser):
    """Answers a wrong command line as every other wrong input: one sentence, exit code 2."""

    def error(self, message: str) -> NoReturn:
        _, is_unknown, words = message.partition("unrecognized arguments: ")
        name = words.split(" ")[0].partition("=")[0]
        problem = f"unknown argument {name}" if is_unknown else message  # its value may be a secret
        raise InputError(f"command line: {problem}{_suggestion(name, list(self._option_string_actions))}")


def _suggestion(word: str, known: list[str]) -> str:
    return f": {near(word, known, '--help all shows the settings there are')}"


def _parse(parser: argparse.ArgumentParser, arguments: list[str]) -> tuple[RunConfig, argparse.Namespace]:
    """Command line over YAML over defaults."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    path = first.parse_known_args(arguments)[0].config
    document = {} if path is None else read_settings(path)
    flags = argparse.Namespace()

    def parse_args(root: argparse.ArgumentParser, args: list[str]) -> argparse.Namespace:
        nonlocal flags
        parsed = root.parse_args(args)
        flags = argparse.Namespace(**vars(parsed))  # a copy: pydantic-settings rewrites what it is given
        return parsed

    class Settings(RunConfig, BaseSettings):
        model_config = SettingsConfigDict(
            frozen=True,
            extra="forbid",
            use_attribute_docstrings=True,
            cli_avoid_json=True,
            cli_parse_none_str="null",
        )

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            command_line = CliSettingsSource[argparse.ArgumentParser](
                settings_cls, cli_parse_args=arguments, root_parser=parser, parse_args_method=parse_args
            )
            return command_line, init_settings

    try:
        settings = Settings(**document)
    except ValidationError as error:
        raise InputError(_sentence(error, arguments, parser, getattr(flags, "config", None))) from None
    return _resolved(RunConfig.model_validate(settings.model_dump())), flags


def _sentence(error: ValidationError, arguments: list[str], parser: argparse.ArgumentParser, path: Path | None) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    typed = any(argument.partition("=")[0] == f"--{key}" for argument in arguments)
    where = "command line" if typed else f"config {path}" if path else "config"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}{_suggestion(f'--{key}', list(parser._option_string_actions))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if isinstance(problem["input"], dict):  # a rule over several fields: it names them itself
        return f"config: {message}"
    return f"{where}: {key}: {message} (got {_SHORT.repr(problem['input'])})"


def _resolved(config: RunConfig) -> RunConfig:
    """The config with what depends on where it was started: absolute paths, the cluster's address."""
    workspace = config.workspace
    address = config.cluster.address or os.environ.get("RAY_ADDRESS")
    if address not in (None, "local") and "://" not in workspace and not Path(workspace).expanduser().is_absolute():
        raise InputError(
            f"workspace {workspace!r} is relative, and the job runs on the cluster at {address}, where that is another "
            "folder: give --workspace an absolute path that every node sees, or s3://bucket/prefix"
        )
    corpus, observe = config.corpus, config.observe
    source = corpus.source.model_copy(update={"path": _absolute(corpus.source.path)})
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    return config.model_copy(
        update={
            "workspace": _absolute(workspace),
            "corpus": corpus.model_copy(update={"source": source, "test_people": _absolute(corpus.test_people)}),
            "cluster": config.cluster.model_copy(update={"address": address}),
            "observe": observe.model_copy(update={"tensorboard": _absolute(observe.tensorboard)}),
        }
    )


def _absolute(place: str | None) -> str | None:
    """A local path, absolute; a URI, or nothing, as it is."""
    return place if place is None or "://" in place else str(Path(place).expanduser().absolute())
