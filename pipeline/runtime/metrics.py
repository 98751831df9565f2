"""Metrics: every number that a job exports to Prometheus through Ray, by name. docs/observe.md explains them.

Ray's agent on each node serves them; one that nobody scrapes costs a dictionary entry. Ray puts ``ray_`` before a
name and ``_total`` behind a counter's.

Durations are counters of seconds, not histograms: Ray passes a histogram's observations on as the middles of their
buckets, so that their sum is not the sum of what was measured.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

from ray.util import metrics as ray_metrics

from pipeline.errors import AuditRefusedError
from pipeline.progress import listening

PREFIX = "motherlode_"

_REPEAT_INTERVAL_S = 1.0  # Ray forgets a gauge that was not set within two of its report intervals, 1 s or more each

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Metric:
    """One metric. Every one has the label ``run`` too.

    Attributes:
        name: Without prefix and suffix; ends with its unit, unless it counts what it is named for.
        description: For people, in ASCII, which is all that Ray takes.
        labels: Names of further labels.
    """

    name: str
    description: str
    labels: tuple[str, ...] = ()

    exporter: ClassVar[type[ray_metrics.Metric]]

    @property
    def exported_name(self) -> str:
        """As Prometheus shows it."""
        return f"ray_{PREFIX}{self.name}"


class Gauge(Metric):
    """A value as it is now."""

    exporter = ray_metrics.Gauge

    def set(self, value: float, **labels: str) -> None:
        """Sets the value, which stays until another one is set or the process ends."""
        if (recorder := _recorder.get()) is not None:
            recorder.set(self, value, tuple(labels.items()))


class Counter(Metric):
    """A count that only grows. It begins at 0 with the recording, so that an increase from 0 to 1 is seen."""

    exporter = ray_metrics.Counter

    @property
    def exported_name(self) -> str:
        """As Prometheus shows it."""
        return f"{super().exported_name}_total"

    def add(self, amount: float = 1.0, **labels: str) -> None:
        """Adds an amount that is not negative."""
        if (recorder := _recorder.get()) is not None:
            recorder.add(self, amount, tuple(labels.items()))


AT_WORK = Gauge("at_work", "1 while a process is at work on the run: the job, or the first training worker", ("role",))

STAGE_UNITS = Counter("stage_units", "What a stage has done: examples embedded, anchors mined, ...", ("stage", "unit"))
STAGE_SECONDS = Counter("stage_seconds", "Seconds that the job has spent in a stage", ("stage",))
PAIRS_SCANNED = Counter("pairs_scanned", "(anchor, positive) pairs whose nearest negative in the band was looked for")
PAIRS_ANSWERED = Counter("pairs_answered", "Pairs for which there was one")
TRIPLETS_WRITTEN = Counter("triplets_written", "Triplets mined and written, published or not")
GENERATIONS_PUBLISHED = Counter("generations_published", "Generations that this job published")
GENERATIONS_REFUSED = Counter("generations_refused", "Generations that the audit refused")
ACTORS_LOST = Counter("actors_lost", "Tasks given to another actor because theirs, or its node, had died")

GENERATION = Gauge("generation", "Number of the newest generation")
GENERATION_STEP = Gauge("generation_checkpoint_step", "Step of the checkpoint that the newest generation is mined from")
GENERATION_TIME = Gauge("generation_published_timestamp_seconds", "When it was published, in seconds since 1970 (UTC)")
GENERATION_TRIPLETS = Gauge("generation_triplets", "Triplets in it")
QUARANTINED = Gauge("quarantined", "Examples and pairs in its quarantine", ("reason",))
EFFECTIVE_RANK = Gauge("embedding_effective_rank", "Dimensions that the embeddings it was mined from make use of")

TRAINER_STARTS = Counter("trainer_starts", "How often the first training worker was started")
STEP = Gauge("step", "Training steps taken")
CHECKPOINT_STEP = Gauge("checkpoint_step", "Step of the newest checkpoint")
GENERATION_IN_USE = Gauge("generation_in_use", "Number of the generation that is trained on")
STALENESS_STEPS = Gauge("staleness_steps", "Steps since the checkpoint that the generation in use was mined from")
LOSS = Gauge("loss", "Loss of the newest step: mean over its active triplets")
LEARNING_RATE = Gauge("learning_rate", "Learning rate of the newest step")
ACTIVE_SHARE = Gauge("active_share", "Share of the newest step's triplets with d_ap - d_an + margin > 0")
LISTED_ACTIVE_SHARE = Gauge("listed_active_share", "Share of the mined triplets still active under the newer weights")
IN_BAND_SHARE = Gauge("in_band_share", "Share of the mined triplets whose negative is still in its band")
IMAGES_TRAINED = Counter("images_trained", "Images forwarded in training, over all workers")
TRIPLETS_TRAINED = Counter("triplets_trained", "Triplets that counted in training")
STEP_SECONDS = Counter("step_seconds", "Seconds of training steps, with their waits for batches")
BATCH_WAIT_SECONDS = Counter("batch_wait_seconds", "Of these, seconds waited for a batch to be decoded")
GENERATION_WAIT_SECONDS = Counter("generation_wait_seconds", "Seconds that training stood still for a generation")

METRICS: tuple[Metric, ...] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""All of them."""


@contextmanager
def recording(run: str, role: Literal["job", "trainer"]) -> Iterator[None]:
    """Records what this thread sets inside the block, under a run's name; outside, and without Ray, it goes nowhere."""
    recorder = _Recorder(run)
    current = _recorder.set(recorder)
    try:
        for metric in METRICS:
            if isinstance(metric, Counter) and not metric.labels:
                recorder.add(metric, 0.0, ())
        AT_WORK.set(1.0, role=role)
        with listening(_count_stage):
            yield
    finally:
        _recorder.reset(current)
        recorder.stop()


@contextmanager
def stage_timer(stage: str) -> Iterator[None]:
    """Adds the block's time to the seconds of a stage."""
    start = time.monotonic()
    try:
        yield
    finally:
        STAGE_SECONDS.add(time.monotonic() - start, stage=stage)


def stopwatch(seconds: Counter) -> Callable[[], None]:
    """A function that adds the seconds since its last call to a counter: a long wait shows while it lasts."""
    last = time.monotonic()

    def add() -> None:
        nonlocal last
        now = time.monotonic()
        seconds.add(now - last)
        last = now

    return add


@contextmanager
def counting_refusals() -> Iterator[None]:
    """Counts what the audit refuses inside the block."""
    try:
        yield
    except AuditRefusedError:
        GENERATIONS_REFUSED.add()
        raise


class _Recorder:
    """Passes values on to Ray, and sets each gauge again every second."""

    def __init__(self, run: str) -> None:
        self._run = ("run", run)
        self._gauges: dict[tuple[Gauge, Labels], float] = {}
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="gauges", daemon=True)
        self._thread.start()

    def add(self, counter: Counter, amount: float, labels: Labels) -> None:
        # Not inc(), which takes no 0: a counter that is not there before it is 1 has no increase for Prometheus.
        _exported(counter)._record(amount, dict((self._run, *labels)))

    def set(self, gauge: Gauge, value: float, labels: Labels) -> None:
        with self._lock:
            self._gauges[gauge, labels] = value
        _exported(gauge).set(value, dict((self._run, *labels)))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._stopped.wait(_REPEAT_INTERVAL_S):
            with self._lock:
                gauges = list(self._gauges.items())
            for (gauge, labels), value in gauges:
                _exported(gauge).set(value, dict((self._run, *labels)))


_recorder: ContextVar[_Recorder | None] = ContextVar("recorder", default=None)


@cache
def _exported(metric: Metric) -> Any:  # noqa: ANN401 — a gauge or a counter of Ray's
    return metric.exporter(PREFIX + metric.name, metric.description, ("run", *metric.labels))


def _count_stage(stage: str, unit: str, advance: int, elapsed_s: float) -> None:
    STAGE_UNITS.add(advance, stage=stage, unit=unit)
    STAGE_SECONDS.add(elapsed_s, stage=stage)
