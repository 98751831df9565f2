"""What ``--help`` says: a job's own flags and the sections of the settings; or the settings of one section."""

import argparse
import difflib
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from inspect import getdoc
from typing import Any, get_args

from pydantic import BaseModel

from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.progress import log

EXIT_CODES = """exit codes:
  0  done, or already done
  1  a bug: please report it with the traceback
  2  bad input, config or command line
  3  refused by the audit: nothing was published
  4  storage or cluster unavailable
  130, 143  stopped by Ctrl-C or by SIGTERM (a scheduler, `ray job stop`): the same command goes on"""

_FLAGS = ("-h", "--help")
_MIN_WIDTH = 20  # of the second column, on a narrow terminal


def add_help(parser: argparse.ArgumentParser) -> None:
    """Adds ``--help [SECTION]`` to a parser that has none."""
    parser.add_argument(
        *_FLAGS,
        action=_Help,
        nargs="?",
        const="",
        default=argparse.SUPPRESS,
        metavar="SECTION",
        help="show this, or the settings of a section, or `all`",
    )


def near(word: str, known: Collection[str], otherwise: str) -> str:
    """The end of a message about a word that is not known: the most similar one that is."""
    similar = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {similar[0]}?" if similar else otherwise


def choose(program: str, what: str, known: Mapping[str, str], description: str) -> tuple[str, list[str]]:
    """The first word of the command line, which names one of several jobs or commands, and the words after it.

    Without a word, or with ``--help``, it lists what there is and exits; ``--help NAME`` is ``NAME --help``.
    """
    first, *others = sys.argv[1:] or ["--help"]
    if first in _FLAGS and others and not others[0].startswith("-"):
        first, *others = others[0], "--help", *others[1:]
    if first in known:
        return first, others
    if first in _FLAGS:
        usage = f"usage: {program} {what.upper()} [--help] ..."
        print(f"{usage}\n\n{description.strip()}\n\n{what}s:\n{_columns(known)}\n\n{EXIT_CODES}")  # noqa: T201
        sys.exit(0)
    hint = near(first, known, f"there are {', '.join(known)}")
    log(f"error: command line: {first!r} is no {what} of {program}: {hint}")
    sys.exit(InputError.exit_code)


class _Help(argparse.Action):
    """Prints what was asked for, and exits."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        section = str(values or "")
        if section == "all":
            text = parser.format_help()
        elif section:
            text = _help_of_section(parser, section)
        else:
            text = _help_of_job(parser)
        sys.stdout.write(text)
        parser.exit()


def _help_of_job(parser: argparse.ArgumentParser) -> str:
    formatter = parser._get_formatter()
    formatter.add_usage(parser.usage, (), ())
    formatter.add_text(parser.description)
    _add_arguments(formatter, parser, lambda setting: not setting)
    meanings = {
        name: _first_sentence(_meanings().get(name) or field.description or f"By default {field.default}.")
        for name, field in RunConfig.model_fields.items()
    }
    more = "`--help SECTION` shows those of one, `--help all` shows all"
    formatter.add_text(f"sections of the settings ({more}):\n{_columns(meanings)}")
    formatter.add_text(parser.epilog)
    return formatter.format_help()


def _help_of_section(parser: argparse.ArgumentParser, section: str) -> str:
    parts = [_setting(action).split(".") for action in parser._actions]
    known = {".".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)} - {""}
    if section not in known:
        by_last_part = {name.rpartition(".")[2]: name for name in sorted(known)}
        hint = near(by_last_part.get(section, section), known, "--help shows the sections there are")
        raise InputError(f"command line: {section!r} is no section of the settings: {hint}")
    formatter = parser._get_formatter()
    if section in _meanings():
        formatter.add_text(f"{section}: {_meanings()[section]}")
    _add_arguments(formatter, parser, lambda setting: f"{setting}.".startswith(f"{section}."))
    return formatter.format_help()


def _add_arguments(
    formatter: argparse.HelpFormatter, parser: argparse.ArgumentParser, is_shown: Callable[[str], bool]
) -> None:
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.help != argparse.SUPPRESS and is_shown(_setting(a))]
        if actions:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(actions)
            formatter.end_section()


def _setting(action: argparse.Action) -> str:
    """The dotted name of the setting that an argument is for; nothing for a job's own flags."""
    name = next(iter(action.option_strings), "").removeprefix("--")
    return name if name.partition(".")[0] in RunConfig.model_fields else ""


def _meanings(model: type[BaseModel] = RunConfig, before: str = "") -> dict[str, str]:
    """The docstring of each section's class, by the section's dotted name."""
    found = {}
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found[before + name] = (getdoc(kind) or "").replace("``", "`")
                found |= _meanings(kind, f"{before}{name}.")
    return found


def _first_sentence(text: str) -> str:
    return text.splitlines()[0].partition(". ")[0].removesuffix(".") + "."


def _columns(rows: Mapping[str, str]) -> str:
    """Names and what they mean, broken into lines that fit the terminal."""
    names = max(map(len, rows))
    indent = " " * (names + 4)
    width = max(shutil.get_terminal_size().columns - 2, len(indent) + _MIN_WIDTH)
    lines = (
        textwrap.fill(f"  {name:{names}}  {words}", width, subsequent_indent=indent, break_on_hyphens=False)
        for name, words in rows.items()
    )
    return "\n".join(lines)
