import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.util import metrics as ray_metrics

from pipeline.errors import AuditRefusedError, InputError
from pipeline.runtime import metrics
from pipeline.runtime.metrics import METRICS
from tests.infra import test_monitoring as monitoring

PAGE = Path(__file__).parents[3] / "docs" / "observe.md"


def test_names_and_labels_are_as_prometheus_wants_them_and_descriptions_as_ray_does() -> None:
    assert max(Counter(metric.name for metric in METRICS).values()) == 1
    for metric in METRICS:
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", metric.name) and "run" not in metric.labels
        assert not metric.name.endswith("_total"), "Ray adds it"
        assert metric.description and metric.description.isascii(), "Ray takes no other"
        assert metric.exported_name.endswith("_total") == isinstance(metric, metrics.Counter)


def test_the_page_on_observing_lists_exactly_these_metrics() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", PAGE.read_text(), flags=re.MULTILINE)
    listed = {name: (kind, re.findall(r"`(\w+)`", labels), words) for name, kind, labels, words in rows}
    assert len(listed) == len(rows)
    assert listed == {
        metric.exported_name.removeprefix("ray_motherlode_"): (
            type(metric).__name__.lower(),
            list(metric.labels),
            metric.description,
        )
        for metric in METRICS
    }


class Told:
    """Keeps what would go to Ray."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def add(self, counter: metrics.Counter, amount: float, labels: metrics.Labels) -> None:
        self.counted[" ".join([counter.name, *(value for _, value in labels)])] += amount  # type: ignore[assignment]


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    token = metrics._recorder.set(told)  # type: ignore[arg-type]
    yield told
    metrics._recorder.reset(token)


def test_what_the_audit_refuses_is_counted_and_nothing_else_is(told: Told) -> None:
    with metrics.counting_refusals():
        pass
    for error in (InputError("no label"), AuditRefusedError("collapsed")):
        with pytest.raises(type(error)), metrics.counting_refusals():
            raise error
    assert told.counted == {"generations_refused": 1}


def test_seconds_of_a_wait_and_of_a_stage_that_fails_are_counted(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    add = metrics.stopwatch(metrics.GENERATION_WAIT_SECONDS)
    for now in (10.5, 12.0):
        add()
        assert told.counted == {"generation_wait_seconds": now - 10.0}
    with pytest.raises(InputError), metrics.stage_timer("publish"):
        now = 15.0
        raise InputError("no room")
    assert told.counted["stage_seconds publish"] == 3.0


def test_outside_of_a_recording_nothing_is_recorded_and_nothing_fails(capfd: pytest.CaptureFixture[str]) -> None:
    metrics.STEP.set(3.0)
    metrics.ACTORS_LOST.add()
    with metrics.stage_timer("publish"):
        metrics.stopwatch(metrics.GENERATION_WAIT_SECONDS)()
    assert capfd.readouterr() == ("", "")


def test_a_new_metric_begins_at_zero_and_is_missed_until_it_is_explained_and_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The recipe of CONTRIBUTING.md, up to Ray; tests/integration/test_monitoring.py scrapes what Ray makes of it."""
    fake = metrics.Counter("fakes_made", "Fakes that were made", ("kind",))
    plain = metrics.Counter("fakes_lost", "Fakes that nobody found")
    recorded: list[tuple[str, float, dict[str, str]]] = []
    record = ray_metrics.Counter._record

    def see(self: ray_metrics.Counter, value: float, tags: dict[str, str]) -> None:
        if "fakes" in self.info["name"]:
            recorded.append((self.info["name"], value, tags))
        record(self, value, tags)

    monkeypatch.setattr(ray_metrics.Counter, "_record", see)
    for module in (metrics, sys.modules[__name__], monitoring):
        monkeypatch.setattr(module, "METRICS", (*METRICS, fake, plain))
    with metrics.recording("a run", "job"):
        fake.add(2.0, kind="old")
    plain.add()
    assert recorded == [
        ("motherlode_fakes_lost", 0.0, {"run": "a run"}),
        ("motherlode_fakes_made", 2.0, {"run": "a run", "kind": "old"}),
    ]
    for is_complete in (
        test_the_page_on_observing_lists_exactly_these_metrics,
        monitoring.test_every_metric_is_on_the_dashboard_or_in_an_alert,
    ):
        with pytest.raises(AssertionError, match="fakes_lost_total"):
            is_complete()
