"""Measures the steps of the compiled scan's ladder, each alone: what a candidate costs, how often one is looked at."""

import time
from collections.abc import Callable
from typing import Any

from pipeline.benchmark.mine import Bench
from pipeline.benchmark.synthetic import make_world
from pipeline.mining.backends.native.compiled import all_kernels, instruction_sets
from pipeline.mining.backends.native.ladder import list_steps
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.shards import Shard

_NUM_ANCHORS = 1024
_ROUNDS = 2


def measure_ladder(bench: Bench, shard: Shard) -> list[dict[str, Any]]:
    """What every step takes for the nearest negative in the band, coarsest first; the backend is native.

    Returns:
        For each step its name, the ``float32_products`` that a candidate costs (its time over that of a float32 product
        which is compared with nothing, in the same run), and ``looks``, per product.
    """
    queries = make_world(shard, _NUM_ANCHORS, bench.config.band, bench.config.positives).queries
    instruction_set = bench.instruction_set or instruction_sets()[-1]
    kernels = [kernel for kernel in all_kernels() if kernel.instruction_set == instruction_set]
    exact = NativeScan(shard, instruction_set, ("float32", None))
    product_s = _seconds(lambda: exact.products_only(queries, 1))
    num_products = len(queries.labels_A) * len(shard)
    rows = []
    for step in list_steps(kernels, shard.vectors_ND.shape[1], len(shard)):
        search = NativeScan(shard, instruction_set, (step.kernel.element, step.num_dims))
        search(queries, 1)  # makes the filter vectors
        search.num_looked_at = 0
        seconds = _seconds(lambda: search(queries, 1))  # noqa: B023 — at once
        looks = search.num_looked_at / _ROUNDS / num_products
        rows.append({"step": step.name, "float32_products": seconds / product_s, "looks": looks})
    return rows


def _seconds(call: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begun)
    return best
