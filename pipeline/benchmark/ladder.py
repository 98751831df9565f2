"""Measures the steps of the compiled scan's ladder, each alone: what a candidate costs, how often one is looked at."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.benchmark.contest import compete
from pipeline.benchmark.mine import PRODUCTS_ALONE, Bench
from pipeline.benchmark.synthetic import make_world
from pipeline.mining.backends.native.compiled import all_kernels, instruction_sets
from pipeline.mining.backends.native.ladder import list_steps
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.shards import Shard

_NUM_ANCHORS = 1024
_ROUNDS = 2


def measure_ladder(bench: Bench, shard: Shard) -> list[dict[str, Any]]:
    """What every step takes for the nearest negative in the band, cheapest product first; the backend is native.

    Returns:
        For each step its name, the ``float32_products`` that a candidate costs (its time over that of a float32 product
        which is compared with nothing, in the same rounds), and ``looks``, per product.
    """
    queries = make_world(shard, _NUM_ANCHORS, bench.config.band, bench.config.positives).queries
    instruction_set = bench.instruction_set or instruction_sets()[-1]
    kernels = [kernel for kernel in all_kernels() if kernel.instruction_set == instruction_set]
    exact = NativeScan(shard, instruction_set, ("float32", None))
    contestants: dict[str, Callable[[], object]] = {PRODUCTS_ALONE: partial(exact.products_only, queries, 1)}
    looks: dict[str, float] = {}
    for step in list_steps(kernels, shard.vectors_ND.shape[1], len(shard)):
        search = NativeScan(shard, instruction_set, (step.kernel.element, step.num_dims))
        search(queries, 1)
        looks[step.name] = search.num_looked_at / (len(queries.labels_A) * len(shard))
        contestants[step.name] = partial(search, queries, 1)
    times = compete(contestants, _ROUNDS)
    return [
        {"step": name, "float32_products": times.ratio(name, PRODUCTS_ALONE)["median"], "looks": looks[name]}
        for name in looks
    ]
