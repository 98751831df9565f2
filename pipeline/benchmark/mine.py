"""Measures mining: a backend and its peers on the same vectors, in turn, and checked against brute force each time."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.benchmark import peers
from pipeline.benchmark.checks import check, rank_of
from pipeline.benchmark.contest import compete, run_alone
from pipeline.benchmark.synthetic import Size, World, make_shard, make_world, take_anchors
from pipeline.config import BandConfig, MiningConfig, PositivesConfig
from pipeline.errors import PipelineError
from pipeline.mining.backends.faiss import GPU_LONGEST_LIST
from pipeline.mining.backends.native.ladder import InstructionSet
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.backends.registry import ShardSearch, open_search, resolve_backend
from pipeline.mining.queries import Queries
from pipeline.mining.sampling import sample_candidates
from pipeline.mining.shards import Shard, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import to_triplets
from pipeline.mining.warm_start import prune_bounds, rescore
from pipeline.progress import log

PRODUCTS_ALONE = "products alone"
"""The scan's matrix products, compared with nothing."""

NUM_NEIGHBOURS = 10
"""What the audit lists of every example."""

_PML_EXAMPLES = 6000  # N x N distances, and a mask or two of that size


@dataclass(frozen=True)
class Bench:
    """What is measured, of what size.

    Attributes:
        config: Backend, band, positives.
        size: How much, and on which device.
        instruction_set: Of the compiled scan; the best that is here, where None.
    """

    config: MiningConfig
    size: Size
    instruction_set: InstructionSet | None = None

    @property
    def backend(self) -> str:
        """The backend that is measured."""
        return resolve_backend(self.config, self.size.device)

    def with_positives(self, num: int) -> "Bench":
        """The same with ``num`` random positives an anchor."""
        positives = PositivesConfig(policy="random", num_per_anchor=num)
        return replace(self, config=self.config.model_copy(update={"positives": positives}))

    def world(self, noise: float) -> World:
        """Embeddings, and questions about them."""
        shard = make_shard(self.size, noise)
        return make_world(shard, self.size.num_anchors or len(shard), self.config.band, self.config.positives)

    def open(self, shard: Shard) -> ShardSearch:
        """A search of a shard."""
        if self.backend == "native":
            return NativeScan(shard, self.instruction_set)
        return open_search(self.config, self.backend, shard, self.size.device)

    def answer(self, search: ShardSearch, queries: Queries) -> Nearest:
        """All answers: on CPUs, blocks of anchors side by side, each single-threaded, as the actors of a refresh do."""
        num_negatives = self.config.negatives_per_pair
        found = self._on_blocks(lambda block: search(block, num_negatives)[0], queries)
        return Nearest.concat(found)

    def products_alone(self, search: NativeScan, queries: Queries) -> None:
        """The same matrix products, compared with nothing."""
        self._on_blocks(lambda block: search.products_only(block, self.config.negatives_per_pair), queries)

    def _on_blocks(self, function: Callable[[Queries], Any], queries: Queries) -> list[Any]:
        step = self.size.anchors_per_block
        blocks = [take_anchors(queries, start, start + step) for start in range(0, len(queries.labels_A), step)]
        with ThreadPoolExecutor(1 if self.size.device == "cuda" else self.size.num_threads) as pool:
            return list(pool.map(function, blocks))


def measure_case(bench: Bench, noise: float, against: tuple[str, ...]) -> dict[str, Any]:
    """One kind of synthetic embeddings; for ``noise`` see ``synthetic.make_shard``, for the rest ``measure_world``."""
    return {"noise": noise, **measure_world(bench, bench.world(noise), against)}


def measure_trained(bench: Bench, shard: Shard, against: tuple[str, ...]) -> list[dict[str, Any]]:
    """Real embeddings: the nearest negative in the band, and, as the audit asks, the nearest ten in none."""
    num_anchors = bench.size.num_anchors or len(shard)
    world = make_world(shard, num_anchors, bench.config.band, bench.config.positives)
    audit = make_world(shard, num_anchors, BandConfig(mode="hard"), PositivesConfig(policy="random"))
    ten = replace(bench, config=bench.config.model_copy(update={"negatives_per_pair": NUM_NEIGHBOURS}))
    return [
        {"question": "band", **measure_world(bench, world, against)},
        {"question": f"nearest {NUM_NEIGHBOURS}", **measure_world(ten, audit, against)},
    ]


def measure_world(bench: Bench, world: World, against: tuple[str, ...]) -> dict[str, Any]:
    """The backend in turn with those of the peers that search a prepared index (faiss, torch).

    Raises:
        PipelineError: An exact backend disagrees with brute force.
        InputError: A backend or peer is missing.
    """
    size, num_negatives = bench.size, bench.config.negatives_per_pair
    search = bench.open(world.shard)
    contestants: dict[str, Callable[[], object]] = {bench.backend: lambda: bench.answer(search, world.queries)}
    if isinstance(search, NativeScan):
        contestants[PRODUCTS_ALONE] = lambda: bench.products_alone(search, world.queries)
    if "faiss" in against:
        k = GPU_LONGEST_LIST if size.device == "cuda" else num_negatives
        contestants[f"faiss flat k={k}"] = peers.faiss_search(world, k, size)
    if "torch" in against:
        contestants["torch mm+topk"] = peers.torch_search(world, num_negatives, size)
    times = compete(contestants, size.num_rounds)
    num_anchors = len(world.queries.labels_A)
    return {
        "backend": bench.backend,
        "step": search.step_name(num_negatives) if isinstance(search, NativeScan) else None,
        "num_anchors": num_anchors,
        "num_candidates": len(world.shard),
        "pairs_per_anchor": len(world.pairs) / num_anchors,
        "mean_d_ap": float(world.pairs.d_ap_P.mean()),
        "products_per_s": {name: num_anchors * len(world.shard) / times.median(name) for name in contestants},
        "seconds": {name: times.seconds[name] for name in contestants},
        "times_as_fast_as": {name: times.ratio(name, bench.backend) for name in contestants if name != bench.backend},
        **check(bench.backend, world, bench.answer(search, world.queries)),
    }


def measure_sample(bench: Bench, noise: float, fraction: float) -> dict[str, Any]:
    """What scanning a random share of the candidates saves, and the rank of what it finds among all in band."""
    world = bench.world(noise)
    whole, part = bench.open(world.shard), bench.open(sample_candidates(world.shard, fraction, 0))
    times = compete(
        {"all": lambda: bench.answer(whole, world.queries), "sample": lambda: bench.answer(part, world.queries)},
        bench.size.num_rounds,
    )
    every, found = bench.answer(whole, world.queries), bench.answer(part, world.queries)
    rank = rank_of(world, found)
    return {
        "noise": noise,
        "candidate_fraction": fraction,
        "times_as_fast": times.ratio("all", "sample"),
        "pairs_answered": float(found.found_PM[:, 0].mean()),
        "pairs_answered_by_all": float(every.found_PM[:, 0].mean()),
        "mean_rank": float(rank.mean()) if len(rank) else None,
        "standard_error_of_the_rank": float(rank.std() / np.sqrt(len(rank))) if len(rank) else None,
        "ranked_pairs": len(rank),
    }


def measure_warm_start(bench: Bench, noise: float) -> dict[str, Any]:
    """Time of a search from the answers of an earlier, slightly different checkpoint, against one from nothing.

    Raises:
        PipelineError: The two differ.
    """
    world = bench.world(noise)
    before = bench.answer(bench.open(world.shard), world.queries)
    drift = np.random.default_rng(1).standard_normal(world.shard.vectors_ND.shape, dtype=np.float32)
    vectors = world.shard.vectors_ND + np.float32(0.1 / np.sqrt(bench.size.num_dims)) * drift
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    shard = Shard(world.shard.ids_N, world.shard.labels_N, vectors)
    today = make_world(shard, len(world.queries.labels_A), bench.config.band, bench.config.positives)
    old, _ = to_triplets(world.pairs, before)
    search = bench.open(today.shard)

    def cold() -> Nearest:
        return bench.answer(search, today.queries)

    def warm() -> Nearest:
        known = rescore(old, today.pairs, today.queries, ShardedVectors([today.shard]), today.groups, 1)
        return bench.answer(search, prune_bounds(today.queries, known))

    if not np.array_equal(cold().id_PM, warm().id_PM):
        raise PipelineError("a warm start changed the answers of an exact scan: please report it")
    times = compete({"cold": cold, "warm": warm}, bench.size.num_rounds)
    return {"noise": noise, "times_as_fast": times.ratio("cold", "warm")}


def mine_alone(bench: Bench, noise: float) -> dict[str, Any]:
    """One whole mining pass, for a process of its own: every example an anchor, memory flat.

    The seconds are for all that follows the embeddings: positives, bands, preparing the search, the search.
    """
    size = replace(bench.size, num_anchors=None)
    shard = make_shard(size, noise)
    start = time.perf_counter()
    world = make_world(shard, len(shard), bench.config.band, bench.config.positives)
    found = bench.answer(bench.open(shard), world.queries)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "vector_bytes": shard.vectors_ND.nbytes, **check(bench.backend, world, found)}


def measure_scaling(bench: Bench, sizes: tuple[int, ...], noise: float) -> dict[str, Any]:
    """Seconds and peak memory of whole mining passes over growing corpora, and the exponent that fits them."""
    points: list[dict[str, Any]] = []
    for num_examples in sizes:
        log(f"mining all of {num_examples:,} examples")
        alone = run_alone(mine_alone, replace(bench, size=replace(bench.size, num_examples=num_examples)), noise)
        points.append({"num_examples": num_examples, "peak_bytes": alone.peak_bytes, **alone.result})
    # Small corpora are bound by what does not grow with N².
    large = [point for point in points if point["num_examples"] >= max(sizes) / 30]
    exponent = None
    if len(large) > 1:
        log_n, log_seconds = (np.log([point[key] for point in large]) for key in ("num_examples", "seconds"))
        exponent = float(np.polyfit(log_n, log_seconds, 1)[0])
    return {"noise": noise, "points": points, "exponent": exponent}


def measure_slow_peers(bench: Bench, noise: float, against: tuple[str, ...]) -> list[dict[str, Any]]:
    """The libraries that mine lists or whole matrices, each against a whole pass of ours, in processes of their own.

    Both answer the peer's question: the nearest negative farther than the positive, for one positive an anchor
    (sentence-transformers), or for the hardest one (pytorch-metric-learning).
    """
    beyond = BandConfig(mode="positive_aware")
    one, hardest = PositivesConfig(policy="random"), PositivesConfig(policy="hardest")
    few = min(bench.size.num_examples, _PML_EXAMPLES)
    questions = {
        "sentence-transformers": (bench.size, one),
        "pytorch-metric-learning": (replace(bench.size, num_examples=few), hardest),
    }
    rows = []
    for peer, (size, positives) in questions.items():
        if peer not in against:
            continue
        log(f"{peer} on {size.num_examples:,} examples")
        asked = bench.config.model_copy(update={"band": beyond, "positives": positives})
        ours = run_alone(mine_alone, Bench(asked, size), noise)
        run, modules = peers.ALONE[peer]
        theirs = run_alone(run, size, noise, preload=modules)
        rows.append(
            {
                "peer": peer,
                "num_examples": size.num_examples,
                "noise": noise,
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
