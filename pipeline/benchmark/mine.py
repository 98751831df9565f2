"""Measures mining: every backend and peer on the same vectors, in turn, and checked against brute force each time."""

import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.benchmark import peers
from pipeline.benchmark.contest import compete, run_alone, time_once
from pipeline.benchmark.synthetic import World, make_shard, make_world, take_anchors
from pipeline.config import MiningConfig, PositivesConfig
from pipeline.errors import InputError, PipelineError
from pipeline.mining.distance import Int64Array
from pipeline.mining.merge import Nearest
from pipeline.mining.miner import ShardSearch, resolve_backend, shard_search
from pipeline.mining.native import NativeScan
from pipeline.mining.sampling import sample_anchors, sample_candidates
from pipeline.mining.scan import Queries
from pipeline.mining.shards import Shard, ShardedVectors
from pipeline.mining.verify import TOLERANCE, brute_force, compare
from pipeline.mining.warm_start import OldTriplets, rescore, tighten
from pipeline.progress import say

_ANCHORS_PER_BLOCK = 4096
_CHECKED_ANCHORS = 256
_LISTED = 2048
"""What FAISS's GPU index lists at most: the longest list of neighbours that anyone mines from."""


@dataclass(frozen=True)
class Size:
    """What is measured.

    Attributes:
        num_examples: N.
        num_dims: D.
        examples_per_label: Examples of a label.
        num_anchors: Anchors that ask; all N where None.
        num_rounds: Rounds that count.
        num_threads: Single-threaded searches side by side; threads of the peers.
        device: "cpu" or "cuda".
    """

    num_examples: int
    num_dims: int = 128
    examples_per_label: int = 12
    num_anchors: int | None = 16384
    num_rounds: int = 5
    num_threads: int = 2
    device: str = "cpu"


def machine(num_dims: int, num_threads: int) -> dict[str, Any]:
    """What it was measured on, and how fast its own matrix product is, in pairs of D dimensions a second."""
    size = 4096
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        product = peers.matrix_product(num_dims, dtype, num_threads, size)
        seconds = compete({"product": product}, 3).median("product")
        rates[str(dtype).removeprefix("torch.")] = size**3 / num_dims / seconds
    return {
        "cpu": _cpu_name(),
        "num_threads": num_threads,
        "platform": platform.platform(),
        "torch": torch.__version__,
        "torch_mm_pairs_per_s": rates,
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 — a device, not a path
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return f"{os.cpu_count()} x {names[0]}" if names else platform.processor()
    except OSError:
        return platform.processor()


def search_all(search: ShardSearch, blocks: list[Queries], num_negatives: int, num_threads: int) -> Nearest:
    """Answers blocks of anchors, each single-threaded, as the actors of a refresh do."""
    with ThreadPoolExecutor(num_threads) as pool:
        found = [nearest for nearest, _ in pool.map(lambda block: search(block, num_negatives), blocks)]
    return Nearest(np.concatenate([one.d_an_PM for one in found]), np.concatenate([one.id_PM for one in found]))


def measure_case(config: MiningConfig, size: Size, noise: float, against: tuple[str, ...]) -> dict[str, Any]:
    """One kind of embeddings, from well trained to untrained: the configured backend and its peers in turn.

    Args:
        config: Backend, band, positives.
        size: How much.
        noise: See ``synthetic.make_shard``.
        against: Of ``peers.PEERS``, those that search a prepared index: faiss, torch.

    Raises:
        PipelineError: An exact backend disagrees with brute force.
        InputError: A backend or peer is missing.
    """
    backend = resolve_backend(config, size.device)
    world = _world(config, size, noise)
    num_anchors, num_examples = len(world.queries.labels_A), size.num_examples
    blocks = world.blocks(_ANCHORS_PER_BLOCK)
    search = shard_search(config, backend, world.shard, size.device)
    contestants: dict[str, Callable[[], object]] = {
        backend: lambda: search_all(search, blocks, config.negatives_per_pair, size.num_threads)
    }
    if isinstance(search, NativeScan):
        contestants["products alone"] = lambda: _in_threads(search.products_only, blocks, size.num_threads)
    if "faiss" in against:
        contestants["faiss k=1"] = peers.faiss_search(world, 1, size.num_threads)
    if "torch" in against:
        contestants["torch mm+topk"] = peers.torch_search(world, 1, size.num_threads)
    times = compete(contestants, size.num_rounds)
    found = search_all(search, blocks, config.negatives_per_pair, size.num_threads)
    return {
        "noise": noise,
        "backend": backend,
        "num_anchors": num_anchors,
        "pairs_per_anchor": len(world.pairs) / num_anchors,
        "mean_d_ap": float(world.pairs.d_ap_P.mean()),
        "products_per_s": {name: num_anchors * num_examples / times.median(name) for name in contestants},
        "seconds": {name: times.seconds[name] for name in contestants},
        "times_as_fast_as": {name: times.ratio(name, backend) for name in contestants if name != backend},
        **check(backend, config, world, found),
    }


def check(backend: str, config: MiningConfig, world: World, found: Nearest) -> dict[str, Any]:
    """Compares the answers of 256 anchors with brute force, and says what a list of 2,048 neighbours would miss."""
    some = sample_anchors(np.arange(len(world.queries.labels_A)), _CHECKED_ANCHORS, 0)
    pair_K = np.flatnonzero(np.isin(world.queries.row_P, some))
    asked = _pairs(world.queries, pair_K)
    mined = Nearest(found.d_an_PM[pair_K], found.id_PM[pair_K])
    expected = brute_force(asked, world.shard, config.negatives_per_pair)
    agreement = compare(mined, expected)
    if backend != "faiss" and agreement.share < 1.0:
        raise PipelineError(f"backend {backend} disagrees with brute force on {1 - agreement.share:.2%} of the pairs")
    nearer = _num_nearer_negatives(asked, world.shard, mined)
    answered = mined.found_PM[:, 0]
    has_negative = expected.found_PM[:, 0]
    return {
        "checked_pairs": agreement.num_pairs,
        "agreement_with_brute_force": agreement.share,
        "answerable_pairs_answered": float(answered[has_negative].mean()) if has_negative.any() else 1.0,
        "pairs_with_a_negative": float(found.found_PM[:, 0].mean()),
        "missed_by_the_nearest_2048": float((nearer[answered] >= _LISTED).mean()) if answered.any() else 0.0,
    }


def measure_sample(config: MiningConfig, size: Size, noise: float, fraction: float) -> dict[str, Any]:
    """What scanning a random share of the candidates saves, and the rank of what it finds among all in band."""
    backend = resolve_backend(config, size.device)
    world = _world(config, size, noise)
    blocks = world.blocks(_ANCHORS_PER_BLOCK)
    sample = sample_candidates(world.shard, fraction, 0)
    whole, part = (shard_search(config, backend, shard, size.device) for shard in (world.shard, sample))
    times = compete(
        {
            "all": lambda: search_all(whole, blocks, 1, size.num_threads),
            "sample": lambda: search_all(part, blocks, 1, size.num_threads),
        },
        size.num_rounds,
    )
    found = search_all(part, blocks, 1, size.num_threads)
    some = sample_anchors(np.arange(len(world.queries.labels_A)), _CHECKED_ANCHORS, 0)
    pair_K = np.flatnonzero(np.isin(world.queries.row_P, some) & found.found_PM[:, 0])
    asked = _pairs(world.queries, pair_K)
    rank = 1 + _num_nearer_negatives(asked, world.shard, Nearest(found.d_an_PM[pair_K], found.id_PM[pair_K]), True)
    return {
        "noise": noise,
        "candidate_fraction": fraction,
        "times_as_fast": times.ratio("all", "sample"),
        "mean_rank": float(rank.mean()),
        "ranked_pairs": len(rank),
        "standard_error_of_the_rank": float(rank.std() / np.sqrt(len(rank))),
    }


def measure_warm_start(config: MiningConfig, size: Size, noise: float) -> dict[str, Any]:
    """Time of a search from the answers of an earlier, slightly different checkpoint, against one from nothing."""
    backend = resolve_backend(config, size.device)
    world = _world(config, size, noise)
    search = shard_search(config, backend, world.shard, size.device)
    before = search_all(search, world.blocks(_ANCHORS_PER_BLOCK), 1, size.num_threads)
    drift = np.random.default_rng(1).standard_normal(world.shard.vectors_ND.shape, dtype=np.float32)
    vectors = world.shard.vectors_ND + np.float32(0.1 / np.sqrt(size.num_dims)) * drift
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    today = make_world(
        Shard(world.shard.ids_N, world.shard.labels_N, vectors),
        len(world.queries.labels_A),
        config.band,
        config.positives,
    )
    answered = before.found_PM[:, 0]
    old = OldTriplets(world.pairs.anchor_P[answered], world.pairs.positive_P[answered], before.id_PM[answered, 0])
    search = shard_search(config, backend, today.shard, size.device)

    def cold() -> Nearest:
        return search_all(search, today.blocks(_ANCHORS_PER_BLOCK), 1, size.num_threads)

    def warm() -> Nearest:
        known = rescore(old, today.pairs, today.queries, ShardedVectors([today.shard]), today.groups, 1)
        queries = tighten(today.queries, known)
        starts = range(0, len(queries.labels_A), _ANCHORS_PER_BLOCK)
        blocks = [take_anchors(queries, start, start + _ANCHORS_PER_BLOCK) for start in starts]
        return search_all(search, blocks, 1, size.num_threads)

    if not np.array_equal(cold().id_PM, warm().id_PM):
        raise PipelineError("a warm start changed the answers")
    return {
        "noise": noise,
        "times_as_fast": compete({"cold": cold, "warm": warm}, size.num_rounds).ratio("cold", "warm"),
    }


def mine_alone(
    config: MiningConfig, num_examples: int, num_dims: int, examples_per_label: int, noise: float, num_threads: int
) -> dict[str, Any]:
    """One whole mining pass, every example an anchor, in a process of its own; flat memory, block by block."""
    shard = make_shard(num_examples, num_dims, examples_per_label, noise)
    world = make_world(shard, num_examples, config.band, config.positives)
    backend = resolve_backend(config)
    search = shard_search(config, backend, shard)
    found: list[Nearest] = []

    def run() -> None:
        blocks = world.blocks(_ANCHORS_PER_BLOCK)
        found.append(search_all(search, blocks, config.negatives_per_pair, num_threads))

    seconds = time_once(run)
    return {"seconds": seconds, "vector_bytes": shard.vectors_ND.nbytes, **check(backend, config, world, found[0])}


def measure_scaling(config: MiningConfig, size: Size, sizes: tuple[int, ...], noise: float) -> dict[str, Any]:
    """Seconds and peak memory of whole mining passes over growing corpora, and the exponent that fits them."""
    points = []
    for num_examples in sizes:
        say(f"mining all of {num_examples:,} examples")
        alone = run_alone(
            mine_alone, config, num_examples, size.num_dims, size.examples_per_label, noise, size.num_threads
        )
        points.append({"num_examples": num_examples, "peak_bytes": alone.peak_bytes, **alone.result})
    large = [point for point in points if point["num_examples"] >= max(sizes) / 30] if len(points) > 1 else []
    exponent = None
    if len(large) > 1:
        log_n, log_seconds = (np.log([point[key] for point in large]) for key in ("num_examples", "seconds"))
        exponent = float(np.polyfit(log_n, log_seconds, 1)[0])
    return {"noise": noise, "points": points, "exponent": exponent}


def measure_slow_peers(
    config: MiningConfig, size: Size, noise: float, against: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The libraries that mine lists or whole matrices, each against a whole pass of ours, in processes of their own."""
    rows = []
    alone: dict[str, tuple[Callable[..., Any], int]] = {
        "sentence-transformers": (peers.sentence_transformers_alone, size.num_examples),
        "pytorch-metric-learning": (peers.metric_learning_alone, min(size.num_examples, 6000)),
    }
    for name in against:
        if name not in alone:
            continue
        peers.load_peer(name)
        function, num_examples = alone[name]
        say(f"{name} on {num_examples:,} examples")
        arguments = (num_examples, size.num_dims, size.examples_per_label, noise, size.num_threads)
        ours, theirs = run_alone(mine_alone, config, *arguments), run_alone(function, *arguments)
        rows.append(
            {
                "peer": name,
                "num_examples": num_examples,
                "seconds": theirs.result["seconds"],
                "our_seconds": ours.result["seconds"],
                "times_as_fast": theirs.result["seconds"] / ours.result["seconds"],
                "peak_bytes": theirs.peak_bytes,
                "our_peak_bytes": ours.peak_bytes,
                "anchors_answered": theirs.result["answered"],
                "our_pairs_answered": ours.result["pairs_with_a_negative"],
            }
        )
    return rows


def _world(config: MiningConfig, size: Size, noise: float) -> World:
    if size.num_examples < 2 * size.examples_per_label:
        raise InputError(
            f"{size.num_examples} examples with {size.examples_per_label} a label are fewer than two labels: "
            "ask for more with --examples"
        )
    shard = make_shard(size.num_examples, size.num_dims, size.examples_per_label, noise)
    return make_world(shard, size.num_anchors or size.num_examples, config.band, config.positives)


def with_positives(config: MiningConfig, num: int) -> MiningConfig:
    """The same mining with ``num`` random positives an anchor."""
    positives = PositivesConfig(policy="random", num_per_anchor=num)
    return config.model_copy(update={"positives": positives})


def _in_threads(function: Callable[[Queries], None], blocks: list[Queries], num_threads: int) -> None:
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(function, blocks))


def _pairs(queries: Queries, pair_K: Int64Array) -> Queries:
    """The queries of some pairs, with only the anchors that they need."""
    anchors, row_K = np.unique(queries.row_P[pair_K], return_inverse=True)
    return Queries(
        queries.labels_A[anchors],
        queries.vectors_AD[anchors],
        row_K.astype(np.int64),
        queries.lower_P[pair_K],
        queries.upper_P[pair_K],
    )


def _num_nearer_negatives(queries: Queries, shard: Shard, found: Nearest, in_band: bool = False) -> Int64Array:
    """How many negatives (of those in band, or of all) are nearer than the first one found, for each pair."""
    counts = np.zeros(len(queries.row_P), dtype=np.int64)
    a_AD = queries.vectors_AD.astype(np.float64)
    for start in range(0, len(shard), 1 << 15):
        rows = slice(start, start + (1 << 15))
        c_CD = shard.vectors_ND[rows].astype(np.float64)
        d_AC = (a_AD**2).sum(1)[:, None] + (c_CD**2).sum(1)[None, :] - 2.0 * (a_AD @ c_CD.T)
        d_AC[queries.labels_A[:, None] == shard.labels_N[None, rows]] = np.inf
        for pair, anchor in enumerate(queries.row_P):
            nearer = d_AC[anchor] < found.d_an_PM[pair, 0] - TOLERANCE
            if in_band:
                nearer &= d_AC[anchor] > queries.lower_P[pair]
            counts[pair] += np.count_nonzero(nearer)
    return counts
