import math
import threading
import time

import numpy as np
import pytest

from pipeline.benchmark.synthetic import Size, make_shard
from pipeline.config import ClusterConfig, MiningConfig, RunConfig
from pipeline.errors import InputError
from pipeline.mining.shards import Shard
from pipeline.planning.measure.search_rates import computing_clock, fit_search, measure_searches, timed


def test_rates_that_made_the_times_are_found_again() -> None:
    sizes = np.array([1000, 2000, 4000, 8000, 16_000])
    seconds = 300 * (2e-6 + 3e-7 * np.log(sizes)) + 100 * sizes * 1e-8
    rates = fit_search(100, 300, sizes, seconds)
    assert (rates.s_per_pair, rates.s_per_look, rates.s_per_product) == pytest.approx((2e-6, 3e-7, 1e-8))
    assert rates.seconds(50, 150, 1e6) == pytest.approx(150 * (2e-6 + 3e-7 * math.log(1e6)) + 50 * 1e6 * 1e-8)


def test_noisy_times_make_no_rate_negative() -> None:
    sizes = np.array([1000, 2000, 4000])
    rates = fit_search(100, 300, sizes, np.array([3e-3, 2e-3, 2.5e-3]))
    assert min(rates.s_per_pair, rates.s_per_look, rates.s_per_product) >= 0.0


def test_the_rates_of_a_stretch_predict_the_times_of_one_that_is_searched_whole() -> None:
    """Of the processor's time, so that a busy machine does not decide."""
    config = RunConfig(cluster=ClusterConfig(anchors_per_block=256), mining=MiningConfig(backend="reference"))
    shard = make_shard(Size(4000, 16, 8), 1.0)
    found = measure_searches(shard, config, "reference")
    half = Shard(shard.ids_N[:2000], shard.labels_N[:2000], shard.vectors_ND[:2000])
    again = measure_searches(half, config, "reference")
    assert found.mine.seconds(256, 256 * 7, 1000) == pytest.approx(again.mine.seconds(256, 256 * 7, 1000), rel=1.0)
    assert len(found.pairs) == 256 * 7 and found.neighbours.id_PM.shape == (256, 10)
    assert min(found.pair_s, found.own_s, found.verify_s, found.mine.seconds(1, 1, 1)) > 0.0


def test_a_stretch_without_a_triplet_is_refused() -> None:
    shard = make_shard(Size(10, 4, 5), 1.0)
    alone = Shard(shard.ids_N[:5], shard.labels_N[:5], shard.vectors_ND[:5])
    with pytest.raises(InputError, match="5 examples holds no triplet"):
        measure_searches(alone, RunConfig(), "reference")


def test_neither_waiting_nor_other_threads_count_where_one_thread_computes() -> None:
    done = threading.Event()
    busy = threading.Thread(target=lambda: [sum(range(1000)) for _ in iter(done.is_set, True)])
    busy.start()
    try:
        seconds, _ = timed(lambda: time.sleep(0.5), clock=computing_clock(ClusterConfig()))
    finally:
        done.set()
        busy.join()
    assert seconds < 0.25


def test_waiting_counts_where_several_threads_or_a_gpu_work() -> None:
    for config in (ClusterConfig(threads_per_actor=2), ClusterConfig(gpus_per_actor=1.0)):
        seconds, _ = timed(lambda: time.sleep(0.05), clock=computing_clock(config))
        assert seconds >= 0.05
