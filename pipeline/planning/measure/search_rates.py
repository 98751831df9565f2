"""Times what follows the embeddings in one process: choosing positives, searching, brute force."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]

from pipeline.config import ClusterConfig, RunConfig
from pipeline.errors import InputError
from pipeline.mining.audit.neighbours import MOST_OWN, num_own
from pipeline.mining.backends.registry import open_search
from pipeline.mining.positives import Pairs
from pipeline.mining.queries import Queries
from pipeline.mining.shards import LabelGroups, Shard
from pipeline.mining.topk import Nearest
from pipeline.mining.verify import brute_force
from pipeline.planning.rates import SearchRates
from pipeline.stages.mine.queries import AnchorBlock, build_negative_queries, build_neighbour_queries

T = TypeVar("T")
Clock = Callable[[], float]

ROUNDS = 3
_SHARES = (1, 2, 4, 8, 16)  # of the candidates: their times tell what grows with them
_FEWEST_CANDIDATES = 64
_FORCED_ANCHORS = 8


@dataclass(frozen=True)
class Searched:
    """What was measured, and answers that the driver's work is measured with.

    Attributes:
        first_s: What the first search takes beyond later ones: a kernel is compiled, or an index built.
        pair_s: Of choosing positives, per anchor and other of its label.
        own_s: The same for the audit.
        mine: Rates of the search for negatives.
        audit: Rates of the search for neighbours; zeros where the config looks at none.
        verify_s: Of brute force, per pair and candidate.
        pairs: Of a block.
        nearest: Their negatives.
        own: Nearest of the block's own labels.
        neighbours: Nearest of others.
    """

    first_s: float
    pair_s: float
    own_s: float
    mine: SearchRates
    audit: SearchRates
    verify_s: float
    pairs: Pairs
    nearest: Nearest
    own: Pairs
    neighbours: Nearest


def timed(call: Callable[[], T], rounds: int = 1, clock: Clock = time.perf_counter) -> tuple[float, T]:
    """Median seconds of a call, and what it returned last."""
    seconds = []
    for _ in range(rounds):
        start = clock()
        returned = call()
        seconds.append(clock() - start)
    return float(np.median(seconds)), returned


def computing_clock(config: ClusterConfig) -> Clock:
    """For what an actor computes without waiting: its thread's time, so that a busy neighbour does not count.

    Nor do other threads of its process, Ray's for one. Where several threads or a GPU work for an actor, only a clock
    on the wall tells how long that takes.
    """
    alone = config.actor_device == "cpu" and config.threads_per_actor == 1
    return time.thread_time if alone else time.perf_counter


def measure_searches(shard: Shard, config: RunConfig, backend: str) -> Searched:
    """Answers a block of anchors as a refresh does; the shard should have the size of a refresh's.

    Raises:
        InputError: The stretch holds no triplet.
    """
    mining, clock, seed = config.mining, computing_clock(config.cluster), config.seed
    groups = LabelGroups(shard.ids_N, shard.labels_N)
    anchors = groups.anchors_A[: config.cluster.anchors_per_block]
    if len(groups.labels_G) < 2 or not len(anchors):
        raise InputError(
            f"a stretch of {len(shard):,} examples holds no triplet to measure with: two labels are needed, one of "
            "them with two examples; prepare a corpus whose labels lie together, or a larger one"
        )
    start, end = groups.members(groups.labels_of(anchors))
    mates_A = end - start - 1
    block = AnchorBlock(anchors, None, None)
    pair_s, (queries, (pairs, _)) = timed(
        lambda: build_negative_queries(block, groups, mining, backend, seed, shard), ROUNDS, clock
    )
    searches = [(queries, mining.negatives_per_pair)]
    own, own_s = pairs, 0.0
    if mining.audit.num_neighbours:
        most = num_own(groups, mining.audit.closer_than_share)
        own_s, (around, (own, _)) = timed(
            lambda: build_neighbour_queries(anchors, groups, mining.audit, most, seed, shard), ROUNDS, clock
        )
        # First, as in a refresh: what a search learns of the embeddings then, it goes on with.
        searches.insert(0, (around, mining.audit.num_neighbours))
    first_s, rates, answers = _measure_search(shard, config, backend, searches)
    few = queries.of_pairs(np.flatnonzero(queries.row_P < _FORCED_ANCHORS))
    verify_s, _ = timed(lambda: brute_force(few, shard, mining.negatives_per_pair), clock=clock)
    return Searched(
        first_s=first_s,
        pair_s=pair_s / float(mates_A.sum()),
        own_s=own_s / float(np.minimum(mates_A, MOST_OWN).sum()),
        mine=rates[-1],
        audit=rates[0] if mining.audit.num_neighbours else SearchRates(s_per_pair=0, s_per_look=0, s_per_product=0),
        verify_s=verify_s / (len(few.row_P) * len(shard)),
        pairs=pairs,
        nearest=answers[-1],
        own=own,
        neighbours=answers[0],
    )


def _measure_search(
    shard: Shard, config: RunConfig, backend: str, searches: list[tuple[Queries, int]]
) -> tuple[float, list[SearchRates], list[Nearest]]:
    """What first searches took beyond later ones; the rates of each, and its answers from all candidates.

    ``searches`` holds queries, and the number of negatives that is wanted for each of their pairs.
    """
    clock, device = computing_clock(config.cluster), config.cluster.actor_device
    sizes = np.array(sorted({max(min(_FEWEST_CANDIDATES, len(shard)), len(shard) // share) for share in _SHARES}))
    seconds_QK, first_s = np.empty((len(searches), len(sizes))), 0.0
    answers: list[Nearest] = []
    for place, size in enumerate(sizes):
        rows = np.linspace(0, len(shard) - 1, size).astype(np.int64)
        # The whole of it where it lies, as in a refresh.
        candidates = shard if size == len(shard) else shard.take(rows)
        search, answers = open_search(config.mining, backend, candidates, device), []
        for number, (queries, num_negatives) in enumerate(searches):
            begun_s, _ = timed(lambda: search(queries, num_negatives), clock=clock)  # noqa: B023 — at once
            later_s, (nearest, _) = timed(lambda: search(queries, num_negatives), ROUNDS, clock)  # noqa: B023
            seconds_QK[number, place], first_s = later_s, max(first_s, begun_s - later_s)
            answers.append(nearest)
    rates = [
        fit_search(len(queries.labels_A), len(queries.row_P), sizes, seconds_K)
        for (queries, _), seconds_K in zip(searches, seconds_QK, strict=True)
    ]
    return first_s, rates, answers


def fit_search(
    num_anchors: int,
    num_pairs: int,
    num_candidates_K: np.ndarray[tuple[int], np.dtype[np.int64]],
    seconds_K: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> SearchRates:
    """The rates of a block, none negative, that come nearest to K measured times, as shares of each."""
    columns = [
        np.full(len(seconds_K), num_pairs),
        num_pairs * np.log(num_candidates_K),
        num_anchors * num_candidates_K,
    ]
    weighted = np.stack(columns, axis=1) / seconds_K[:, None]
    scale = weighted.max(axis=0)
    found = nnls(weighted / scale, np.ones(len(seconds_K)))[0] / scale
    return SearchRates(s_per_pair=found[0], s_per_look=found[1], s_per_product=found[2])
