import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.runtime.metrics import METRICS
from tests.support.monitoring import DASHBOARD, FOLDER, RULES, metric_names, panels, queries

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: prometheus)")

REFUSED = "ray_motherlode_generations_refused_total"


@pytest.mark.parametrize("where", queries())
def test_every_query_is_promql_and_names_metrics_of_ours_or_of_ray(where: str) -> None:
    names = metric_names(queries()[where])
    assert names
    ours = {name for name in names if name.startswith("ray_motherlode_")}
    assert ours <= {metric.exported_name for metric in METRICS}
    assert all(name.startswith("ray_") for name in names)


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    shown = set().union(*map(metric_names, queries().values()))
    assert {metric.exported_name for metric in METRICS} - shown == set()


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    places = [panel["gridPos"] for panel in every]
    assert all(at["x"] >= 0 and at["x"] + at["w"] <= 24 and at["h"] > 0 for at in places)
    for one, other in itertools.combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_the_dashboard_asks_for_its_data_source_and_every_panel_uses_it() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    used = [panel["datasource"] for panel in panels()] + [variables["run"]["datasource"]]
    used += [target["datasource"] for panel in panels() for target in panel["targets"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in used)
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == [
        "Loop", "Mining", "Training", "Cluster",
    ]  # fmt: skip


def test_every_panel_and_every_alert_says_what_it_shows() -> None:
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels())
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_rules_and_the_example_of_its_config() -> None:
    promtool("check", "rules", FOLDER / "prometheus_rules.yaml")
    promtool("check", "config", FOLDER / "prometheus.yaml")


def check_alerts(folder: Path, series: dict[str, str], when: dict[tuple[str, str], bool]) -> None:
    """Which alerts fire, by name and time, when series have these values, one a minute."""
    tests: list[dict[str, Any]] = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                    "eval_time": time,
                    "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                }
                for (alert, time), fires in when.items()
            ],
        }
    ]
    file = folder / "alerts_test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "prometheus_rules.yaml")], "tests": tests}))
    promtool("test", "rules", file)


@needs_promtool
def test_a_refusal_is_heard_for_an_hour_even_of_a_job_that_was_never_seen_without(tmp_path: Path) -> None:
    alert = "MotherlodeGenerationRefused"
    early = f'{REFUSED}{{run="main",WorkerId="a"}}'
    late = f'{REFUSED}{{run="main",WorkerId="b"}}'
    series = {early: "0x200", late: "_x20 1x180"}
    when = {(alert, "15m"): False, (alert, "25m"): True, (alert, "75m"): True, (alert, "90m"): False}
    check_alerts(tmp_path, series, when)
    check_alerts(tmp_path, {late: "_x20 1x180"}, when)


@needs_promtool
def test_a_run_without_a_new_generation_is_missed_only_while_somebody_is_at_work_on_it(tmp_path: Path) -> None:
    alert = "MotherlodeNoNewGeneration"
    series = {
        'ray_motherlode_generation_published_timestamp_seconds{run="main"}': "0x1440",
        'ray_motherlode_at_work{run="main",role="job"}': "1x600 _x840",
    }
    check_alerts(
        tmp_path,
        series,
        {(alert, "5h"): False, (alert, "7h"): True, (alert, "15h"): True, (alert, "17h"): False},
    )


@needs_promtool
def test_training_that_mostly_waits_is_told_from_training_that_sometimes_does(tmp_path: Path) -> None:
    waits, steps = "ray_motherlode_generation_wait_seconds_total", "ray_motherlode_step_seconds_total"
    alert = "MotherlodeTrainingWaits"
    at = (alert, "90m")
    check_alerts(tmp_path, {f'{waits}{{run="main"}}': "0+40x120", f'{steps}{{run="main"}}': "0+20x120"}, {at: True})
    check_alerts(tmp_path, {f'{waits}{{run="main"}}': "0+20x120", f'{steps}{{run="main"}}': "0+40x120"}, {at: False})


@needs_promtool
def test_lost_shares_lost_actors_and_silence_are_heard(tmp_path: Path) -> None:
    series = {
        'ray_motherlode_active_share{run="main"}': "0.3x30 0.001x90",
        'ray_motherlode_actors_lost_total{run="main"}': "0x60 7x60",
        'ray_motherlode_trainer_starts_total{run="main"}': "1x60 5x60",
        'ray_motherlode_at_work{run="main",role="job"}': "1x60",
    }
    check_alerts(
        tmp_path,
        series,
        {
            ("MotherlodeActiveShareCollapsed", "30m"): False,
            ("MotherlodeActiveShareCollapsed", "80m"): True,
            ("MotherlodeActorsDie", "59m"): False,
            ("MotherlodeActorsDie", "62m"): True,
            ("MotherlodeTrainerRestarts", "59m"): False,
            ("MotherlodeTrainerRestarts", "62m"): True,
            ("MotherlodeSilent", "10h"): False,
            ("MotherlodeSilent", "26h"): True,
        },
    )
