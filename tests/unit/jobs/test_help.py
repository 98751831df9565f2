"""``--help`` fits on a screen, tells one section of the settings from the others, and leads on to every job."""

import io
import re
import runpy
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TypeAlias, get_args

import pytest
from pydantic import BaseModel

from jobs.motherlode import main
from pipeline.config import RunConfig
from tests.support.jobs import ROOT, call

JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if '__name__ == "__main__"' in path.read_text())
COMMANDS = runpy.run_module("jobs.triplets")["COMMANDS"]
SCREEN = 60
Motherlode: TypeAlias = Callable[..., tuple[int, str, str]]
LONGER: dict[tuple[str, ...], int] = {("benchmark",): 68}  # by its own flags


@pytest.fixture(autouse=True)
def _a_usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def shown(name: str, *arguments: str) -> str:
    words = io.StringIO()
    code, out = call(name, *arguments, stderr=words)
    assert (code, words.getvalue()) == (0, "")
    return out


def refusal(name: str, *arguments: str) -> str:
    words = io.StringIO()
    assert call(name, *arguments, stderr=words) == (2, "")
    (line,) = words.getvalue().splitlines()
    return line


def settings_in(text: str) -> list[str]:
    flags = re.findall(r"^  --([\w.]+)", text, re.MULTILINE)
    return [flag for flag in flags if flag.partition(".")[0] in RunConfig.model_fields]


def settings_of(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every setting by its dotted name; a list of parts (the curriculum) is one."""
    for name, field in model.model_fields.items():
        kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)]
        part = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if part is None or field.annotation not in (part, part | None):
            yield before + name
        else:
            yield from settings_of(part, f"{before}{name}.")


@pytest.mark.parametrize(
    "words", [*((job,) for job in JOBS), *(("triplets", command) for command in COMMANDS)], ids=" ".join
)
def test_help_fits_on_a_screen(words: tuple[str, ...]) -> None:
    text = shown(*words, "-h")
    assert len(text.splitlines()) < LONGER.get(words, SCREEN)
    assert text.startswith(f"usage: python -m jobs.{' '.join(words)} ")
    assert "exit codes" in text and "refused by the audit" in text
    if words != ("triplets",):
        assert settings_in(text) == []
        for name in ("--config", "--json", "--help SECTION", "--help all", *RunConfig.model_fields):
            assert name in text
        assert re.search("^  mining  +What is mined.$", text, re.MULTILINE)


def test_help_shows_the_jobs_own_flags() -> None:
    assert "--watch" in shown("mine", "--help") == shown("mine", "-h")
    assert "what to measure" in shown("benchmark", "--help")
    assert "--order" in shown("triplets", "show", "--help")


def test_every_setting_is_in_the_help_of_one_section() -> None:
    sections = {section: settings_in(shown("mine", "--help", section)) for section in RunConfig.model_fields}
    for section, settings in sections.items():
        assert {setting.partition(".")[0] for setting in settings} == {section}
    listed = [setting for settings in sections.values() for setting in settings]
    assert sorted(listed) == sorted(settings_of(RunConfig))


@pytest.mark.parametrize("name", [name for name in JOBS if name != "triplets"])
def test_help_all_shows_every_setting_with_its_meaning_and_the_exit_codes(name: str) -> None:
    text = shown(name, "--help", "all")
    assert sorted(settings_in(text)) == sorted(settings_of(RunConfig))
    assert "after so many steps" in text and "exit codes" in text and "refused by the audit" in text


@pytest.mark.parametrize("section", ["mining", "mining.audit", "harmonic", "corpus.source", "training.curriculum"])
@pytest.mark.parametrize("words", [("mine",), ("triplets", "show")], ids=" ".join)
def test_a_section_is_shown_as_it_is_among_all(words: tuple[str, ...], section: str) -> None:
    whole, text = shown(*words, "--help", "all"), shown(*words, "--help", section)
    heading, groups = text.split("\n\n")[0], re.split(r"^(?=\S+ options:$)", text, flags=re.MULTILINE)[1:]
    assert heading.startswith(f"{section}: ")
    assert groups and (section == "training.curriculum" or all(group.strip() in whole for group in groups))
    assert settings_in(text) == [
        setting for setting in settings_in(whole) if setting == section or setting.startswith(f"{section}.")
    ]


def test_one_setting_can_be_asked_for() -> None:
    assert settings_in(shown("mine", "--help=mining.band.margin")) == ["mining.band.margin"]
    assert settings_in(shown("mine", "-h", "workspace")) == ["workspace"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("minning", "did you mean mining?"),
        ("mining.audti", "did you mean mining.audit?"),
        ("audit", "did you mean mining.audit?"),
        ("minin", "did you mean mining?"),
        ("xyzzy", "--help shows the sections there are"),
    ],
)
def test_an_unknown_section_is_refused_with_the_nearest_one(word: str, hint: str) -> None:
    for words in (("mine",), ("triplets", "show")):
        line = refusal(*words, "--help", word)
        assert line == f"error: command line: {word!r} is no section of the settings: {hint}"


def test_help_of_a_command_may_stand_before_its_name() -> None:
    assert shown("triplets", "--help", "show") == shown("triplets", "show", "--help")
    assert shown("triplets", "--help") == shown("triplets")


@pytest.fixture
def motherlode(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Motherlode:
    """Runs the console script in this process."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["/usr/local/bin/motherlode", *arguments])
        monkeypatch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_the_console_script_lists_every_job(motherlode: Motherlode) -> None:
    code, out, words = motherlode()
    assert (code, words) == (0, "") and motherlode("--help") == motherlode("-h") == (0, out, "")
    assert out.startswith("usage: motherlode JOB ")
    assert re.findall(r"^  (\w+)  +\w", out.partition("jobs:\n")[2].partition("exit codes")[0], re.MULTILINE) == JOBS
    assert "embed the corpus with the newest checkpoint" in out and "exit codes" in out
    assert len(out.splitlines()) < SCREEN


def test_the_console_script_names_itself_in_usage_lines(motherlode: Motherlode) -> None:
    assert motherlode("mine", "--help")[1].startswith("usage: motherlode mine [--config FILE]")
    assert motherlode("--help", "mine") == motherlode("mine", "--help")
    assert motherlode("triplets")[1].startswith("usage: motherlode triplets COMMAND")
    assert motherlode("triplets", "show", "-h")[1].startswith("usage: motherlode triplets show [--config FILE]")
    code, _, words = motherlode("triplets", "shw")
    sentence = "error: command line: 'shw' is no command of motherlode triplets: did you mean show?\n"
    assert (code, words) == (2, sentence)


def test_the_console_script_refuses_an_unknown_job(motherlode: Motherlode) -> None:
    assert motherlode("mime") == (2, "", "error: command line: 'mime' is no job of motherlode: did you mean mine?\n")
    code, out, words = motherlode("cli")  # a module beside the jobs
    assert (code, out) == (2, "") and words.startswith("error: ") and len(words.splitlines()) == 1


def test_the_console_script_runs_a_job_as_python_m_does(
    motherlode: Motherlode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, words = motherlode("prepare", "--config", "none.yaml")
    assert (code, out) == (2, "") and "none.yaml" in words
    assert sys.path[0] == str(tmp_path)  # where a user's own network may be
    with monkeypatch.context() as patch:
        seen: list[list[str]] = []
        patch.setattr(sys, "argv", ["motherlode", "mine", "--json"])
        patch.setattr(sys, "path", [*sys.path])
        patch.setattr(runpy, "run_module", lambda name, run_name: seen.append([name, run_name, *sys.argv]))
        main()
    assert seen == [["jobs.mine", "__main__", "motherlode mine", "--json"]]


def test_the_package_installs_the_console_script() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name: EntryPoint(name, value, "console_scripts").load() for name, value in scripts.items()} == {
        "motherlode": main
    }
