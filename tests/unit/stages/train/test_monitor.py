import time

import pytest

from pipeline.stages.train.monitor import TrainingMonitor


def test_silence_is_counted_from_the_start_and_from_every_word_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told = TrainingMonitor(7)
    now = 105.0
    assert (told.status().silent_s, told.status().step, told.status().note) == (5.0, 7, "workers are starting")
    told.update(8, "a step")
    now = 107.0
    assert (told.status().silent_s, told.status().step, told.status().note) == (2.0, 8, "a step")
