import argparse
from pathlib import Path
from typing import Any

import pytest

from jobs.benchmark import add_flags, run
from pipeline.benchmark.plans import EmbedPlan, MinePlan, Plan, TrainPlan
from pipeline.config import RunConfig
from pipeline.errors import InputError


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Plan, Path]:
    """The plan and folder that a command line means."""

    def asked_for(what: str, config: RunConfig, plan: Plan, output: Path) -> dict[str, Any]:
        return {"asked": (plan, output)}

    monkeypatch.setattr("jobs.benchmark.run_benchmark", asked_for)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    found: tuple[Plan, Path] = run(RunConfig(), parser.parse_args(arguments))["asked"]
    return found


def test_flags_become_the_plan_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, "mine") == (MinePlan(), Path("build/benchmark"))
    mine = asked(monkeypatch, "mine", "--per-label", "3", "--peers", "--noises", "1", "2", "--output", "here")
    assert mine == (MinePlan(per_label=3, peers=(), noises=(1.0, 2.0)), Path("here"))
    train, _ = asked(monkeypatch, "train", "--labels", "9", "--decode-workers", "1", "2", "--rounds", "2")
    assert train == TrainPlan(rounds=2, labels=9, decode_workers=(1, 2))
    assert asked(monkeypatch, "embed", "--labels=5")[0] == EmbedPlan(labels=5)


def test_a_flag_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--labels is for train and embed, not mine"):
        asked(monkeypatch, "mine", "--labels", "5")
    with pytest.raises(InputError, match="--steps is for train, not embed"):
        asked(monkeypatch, "embed", "--steps", "5")


def test_help_names_the_kinds_that_take_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    parser.print_help()
    words = " ".join(capsys.readouterr().out.split())
    assert "mine, train, embed: rounds that count (default 5)" in words
    assert "train, embed: characters" in words
