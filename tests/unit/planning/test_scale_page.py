"""The page on scale says what the planner says."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from pipeline.planning.chart import draw_plans
from pipeline.planning.plan import make_plan
from tests.support.jobs import ROOT
from tests.unit.planning.samples import CONFIG, cluster, rates

PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
TABLES = re.findall(r"```\n(python -m jobs\.plan [^`]*?--rates docs/[^`]*?)\n```\n\n((?:\|.*\n)+)", PAGE)


@pytest.mark.parametrize(("command", "table"), TABLES, ids=range(len(TABLES)))
def test_every_table_is_what_the_command_above_it_prints(
    command: str, table: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "argv", ["jobs/plan.py", *command.replace("\\\n", " ").split()[3:]])
    runpy.run_module("jobs.plan", run_name="__main__")
    printed = [line for line in capfd.readouterr().out.splitlines() if line.startswith("|")]
    assert table.splitlines() == printed


def test_the_page_has_its_tables_and_rates() -> None:
    assert len(TABLES) >= 4 and PAGE.count("| examples |") == len(TABLES)
    used = {Path(name).name for name in re.findall(r"--rates docs/scale/(\S+)", PAGE)}
    assert used == {path.name for path in (ROOT / "docs" / "scale").iterdir()}


def test_a_picture_is_a_png_and_the_same_plans_give_the_same_bytes() -> None:
    plans = [make_plan(CONFIG, rates(), cluster(), number, 2) for number in (10_000, 100_000)]
    picture = draw_plans(plans)
    assert picture.startswith(b"\x89PNG") and draw_plans(plans) == picture
    assert draw_plans(plans[:1]) != picture
