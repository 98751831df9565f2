"""The backend `faiss`: an index proposes, the definition decides, a scan answers the rest. The only faiss import.

An index lists an anchor's nearest examples, positives included, by rounded or coded distances. What is listed is scored
again by ``mining.distance``, and each pair takes the negatives of its band from there. A Flat index proves in
this way what a pair's answer is; any other may have missed something, so a pair takes as many as it asked for
or goes to the scan. No index ever decides that a band is empty.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Float32Array, Float64Array, Int64Array
from pipeline.config import IndexConfig
from pipeline.errors import InputError
from pipeline.mining.distance import error_bound, squared_distances, squared_norms
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest

GPU_LONGEST_LIST = 2048
"""As many as FAISS's selection kernels on a GPU can keep."""
_HALF_ROUNDING = 2.0**-7
"""Half precision moves a vector of norm r by 2^-11 r, so a squared distance by 2^-8 r²; doubled for tiny components."""
_LISTED_AT_ONCE = 1 << 16  # listed examples whose vectors are gathered together
_CAGRA = "CAGRA"
_FEWEST = {"IVF": 1, "HNSW": 2, "NSG": 8}
"""Cells or links. With fewer, faiss ends the process or never returns."""
_MOST_LINKS = 1024


def unavailable_reason() -> str | None:
    """Why FAISS cannot be used here, and how to change that; None where it can."""
    try:
        importlib.import_module("faiss")
    except ModuleNotFoundError:
        return "faiss is not installed here: pip install -e '.[cpu]' (or [gpu])"
    return None


def import_faiss() -> Any:  # noqa: ANN401 — faiss ships no types
    """The faiss module.

    Raises:
        InputError: It is not installed.
    """
    if reason := unavailable_reason():
        raise InputError(reason)
    return importlib.import_module("faiss")


class FaissIndex:
    """A FAISS index over one shard, and a scan of the same shard for what the index cannot answer.

    On a CPU, repeating it gives the same bits: FAISS seeds its training samples and its graphs. How long the lists are
    depends on the anchors that are asked about together, and so may what an approximate index finds.

    The GPU's side (``device="cuda"``, CAGRA) is written from FAISS's documentation and has not run on a GPU yet.
    """

    def __init__(
        self,
        shard: Shard,
        config: IndexConfig,
        fallback: Callable[[Queries, int], tuple[Nearest, int]],
        device: str = "cpu",
    ) -> None:
        """Trains and fills the index.

        Args:
            shard: Candidates.
            config: Which index, and how far it looks.
            fallback: An exact scan of the same shard: (queries, M) to (nearest, anything).
            device: "cpu" or "cuda".

        Raises:
            InputError: faiss is missing, or it cannot build this index here.
        """
        self._faiss = import_faiss()
        self._shard, self._config, self._fallback = shard, config, fallback
        self._sorted_labels_N = np.sort(shard.labels_N)
        self._largest_norm = squared_norms(shard.vectors_ND).max(initial=0.0, keepdims=True)
        self._on_gpu = device == "cuda"
        self._is_exact = config.factory == "Flat"
        if len(shard):
            self._index = _build(self._faiss, config, shard, self._on_gpu)

    def __call__(self, queries: Queries, num_negatives: int) -> tuple[Nearest, int]:
        """The nearest negatives of every pair inside its band.

        Args:
            queries: Pairs and their bands.
            num_negatives: M.

        Returns:
            P x M, and how many of the pairs were handed to the fallback. From a Flat index the same as
            ``reference.scan`` gives; from another one in-band negatives with their true distances, most of them the
            nearest, and as many for each pair as the scan finds.
        """
        found = Nearest.empty(len(queries.row_P), num_negatives)
        if len(self._shard) == 0 or len(queries.row_P) == 0:
            return found, 0
        row_AK, reach_A = self._list(queries, num_negatives)
        num_anchors, k = row_AK.shape
        anchors_at_once = max(1, _LISTED_AT_ONCE // k)
        for first in range(0, num_anchors, anchors_at_once):
            self._take(queries, slice(first, min(first + anchors_at_once, num_anchors)), row_AK, found)

        resolved_P = found.found_PM[:, -1]
        if self._is_exact:
            # Whatever is not listed lies at reach or beyond: too far for the band, or than what was found.
            reach_P = reach_A[queries.row_P]
            resolved_P = np.isinf(reach_P) | (np.minimum(found.d_an_PM[:, -1], queries.upper_P) < reach_P)
        rest = np.flatnonzero(~resolved_P)
        if len(rest):
            answers, _ = self._fallback(queries.of_pairs(rest), num_negatives)
            found.d_an_PM[rest], found.id_PM[rest] = answers.d_an_PM, answers.id_PM
        return found, len(rest)

    def _list(self, queries: Queries, num_negatives: int) -> tuple[Int64Array, Float64Array]:
        """What the index lists for each anchor, and how far that list reaches.

        Returns:
            Rows of the shard, -1 where there is none, int64, shape (A, K). And, from a Flat index, a distance below
            which nothing is left out, float64, shape (A,); inf where all is listed.
        """
        own_A = np.searchsorted(self._sorted_labels_N, queries.labels_A, side="right")
        own_A -= np.searchsorted(self._sorted_labels_N, queries.labels_A, side="left")
        k = min(num_negatives + self._config.num_neighbours + int(own_A.max()), len(self._shard))
        k = min(k, GPU_LONGEST_LIST) if self._on_gpu else k
        listed_AK, row_AK = self._search(np.ascontiguousarray(queries.vectors_AD, dtype=np.float32), k)
        if k == len(self._shard):
            return row_AK, np.full(len(row_AK), np.inf)
        # The index's distances may err by the bound for the last one listed and for the first one not listed. Of a
        # small batch FAISS adds up squared differences instead of products: the two bounds together cover that too.
        norm_A = squared_norms(queries.vectors_AD)
        slack = 2.0 * float(error_bound(queries.vectors_AD.shape[1], norm_A, self._largest_norm))
        if self._on_gpu and self._shard.vectors_ND.dtype != np.float16:
            slack += _HALF_ROUNDING * max(float(norm_A.max()), float(self._largest_norm[0]))
        return row_AK, listed_AK[:, -1].astype(np.float64) - slack

    def _search(self, vectors_AD: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """The index's own answer, distances and rows, nearest first."""
        parameters = None
        if self._config.factory == _CAGRA:  # its walk must keep at least k candidates, in steps of 32
            parameters = self._faiss.SearchParametersCagra(itopk_size=max(64, -(-k // 32) * 32))
        listed_AK, row_AK = self._index.search(vectors_AD, k, params=parameters)
        return listed_AK, row_AK

    def _take(self, queries: Queries, anchors: slice, row_AK: Int64Array, found: Nearest) -> None:
        """Scores what is listed for some anchors, and gives their pairs the nearest inside their bands."""
        d_an_AK, row_AK = self._score(queries.vectors_AD[anchors], queries.labels_A[anchors], row_AK[anchors])
        start, end = np.searchsorted(queries.row_P, [anchors.start, anchors.stop])
        anchor_P = queries.row_P[start:end] - anchors.start
        first_P, last_P = np.empty_like(anchor_P), np.empty_like(anchor_P)
        edges = np.searchsorted(anchor_P, np.arange(len(d_an_AK) + 1))
        for d_an_K, i, j in zip(d_an_AK, edges[:-1], edges[1:], strict=True):  # distances ascend: a band is a stretch
            first_P[i:j] = np.searchsorted(d_an_K, queries.lower_P[start + i : start + j], side="right")
            last_P[i:j] = np.searchsorted(d_an_K, queries.upper_P[start + i : start + j], side="left")
        place_PM = first_P[:, None] + np.arange(found.id_PM.shape[1])
        pair, m = np.nonzero(place_PM < last_P[:, None])
        anchor, place = anchor_P[pair], place_PM[pair, m]
        found.d_an_PM[start + pair, m] = d_an_AK[anchor, place]
        found.id_PM[start + pair, m] = self._shard.ids_N[row_AK[anchor, place]]

    def _score(
        self, vectors_AD: npt.NDArray[np.floating], labels_A: npt.NDArray[np.int32], row_AK: Int64Array
    ) -> tuple[Float32Array, Int64Array]:
        """The defined distances of listed negatives, ascending, ties by row; inf for all else. And their rows."""
        row_AK = np.sort(row_AK, axis=1)
        negative_AK = (row_AK >= 0) & (self._shard.labels_N[row_AK] != labels_A[:, None])
        negative_AK[:, 1:] &= row_AK[:, 1:] != row_AK[:, :-1]  # no index promises to list an example only once
        anchor, place = np.nonzero(negative_AK)
        d_an_AK = np.full(row_AK.shape, np.inf, dtype=np.float32)
        d_an_AK[anchor, place] = squared_distances(
            vectors_AD[anchor], self._shard.vectors_ND[row_AK[anchor, place]]
        ).astype(np.float32)
        order_AK = np.argsort(d_an_AK, axis=1, kind="stable")
        return np.take_along_axis(d_an_AK, order_AK, axis=1), np.take_along_axis(row_AK, order_AK, axis=1)


def _build(faiss: Any, config: IndexConfig, shard: Shard, on_gpu: bool) -> Any:  # noqa: ANN401
    """The trained and filled index; a float32 copy of the vectors, where they are float16, lives only meanwhile.

    FAISS trains on a seeded sample of its own, by default up to 256 vectors a cell or code.
    """
    num_examples, num_dims = shard.vectors_ND.shape
    _check(faiss, config.factory, num_examples, on_gpu)
    vectors_ND = np.ascontiguousarray(shard.vectors_ND, dtype=np.float32)
    try:
        # Threads race for the links of a graph, except in newer releases: only one gives the same graph every time.
        with _one_thread(faiss) if re.search("HNSW|NSG", config.factory) else nullcontext():
            index = _untrained(faiss, config, num_dims, on_gpu)
            index.train(vectors_ND)
            if config.factory != _CAGRA:  # which holds what it was trained on
                index.add(vectors_ND)
        index.search(vectors_ND[:1], 1)  # some settings fail only here
    except (RuntimeError, MemoryError) as error:
        reason = str(error).rsplit(": ", 1)[-1]
        raise InputError(
            f"mining.index.factory {config.factory!r} (nprobe {config.nprobe}) cannot index a shard of {num_examples} "
            f"examples with {num_dims} dimensions ({reason}): choose another, such as Flat or IVF256,Flat"
        ) from None
    return index


def _check(faiss: Any, factory: str, num_examples: int, on_gpu: bool) -> None:  # noqa: ANN401
    """Refuses what faiss has not got here, and what it would not survive."""
    if on_gpu and not hasattr(faiss, "StandardGpuResources"):
        raise InputError(
            "mining.backend is faiss and the actors have GPUs, but the faiss installed here is for CPUs only: "
            "replace it by pip install -e '.[gpu]', or set cluster.gpus_per_actor 0"
        )
    if factory == _CAGRA and not (on_gpu and hasattr(faiss, "GpuIndexCagra")):
        raise InputError(
            "mining.index.factory is CAGRA, which needs actors with GPUs (cluster.gpus_per_actor) and a faiss built "
            "with cuVS (conda's faiss-gpu-cuvs): provide both, or choose another, such as IVF4096,Flat"
        )
    for kind, digits in re.findall(r"(IVF|HNSW|NSG)(\d+)", factory):
        most = num_examples if kind == "IVF" else _MOST_LINKS
        if not _FEWEST[kind] <= int(digits) <= most:
            raise InputError(
                f"mining.index.factory {factory!r} has {kind}{digits}, but a shard of {num_examples} examples takes "
                f"{kind}{_FEWEST[kind]} to {kind}{most}: change the number, or cluster.num_shards"
            )


def _untrained(faiss: Any, config: IndexConfig, num_dims: int, on_gpu: bool) -> Any:  # noqa: ANN401
    """The index that the config describes, empty, on its device."""
    if config.factory == _CAGRA:
        return faiss.GpuIndexCagra(faiss.StandardGpuResources(), num_dims, faiss.METRIC_L2)
    index = faiss.index_factory(num_dims, config.factory, faiss.METRIC_L2)
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf.nprobe = min(config.nprobe, ivf.nlist)  # a GPU's copy takes this over
    if not on_gpu:
        return index
    options = faiss.GpuClonerOptions()
    options.useFloat16 = True
    options.use_cuvs = False  # it rounds in other ways, and not every index exists there
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index, options)


@contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:  # noqa: ANN401
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
