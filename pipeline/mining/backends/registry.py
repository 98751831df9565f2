"""The backends by name: what each of them can do, and how it opens a shard."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config import MiningConfig
from pipeline.errors import InputError
from pipeline.mining.backends import faiss, reference
from pipeline.mining.backends.native.compiled import unavailable_reason as native_unavailable_reason
from pipeline.mining.backends.native.search import NativeScan
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest

ShardSearch = Callable[[Queries, int], tuple[Nearest, int]]
"""(queries, M) to (nearest M negatives of every pair, number of pairs that an index handed to the scan)."""


@dataclass(frozen=True)
class Backend:
    """One way to search a shard for the nearest negatives inside a band.

    Attributes:
        open: (shard, config, device) to a search of the shard; raises InputError where the backend cannot be had.
        unavailable_reason: Why this machine cannot use it, and how to change that; None where it can.
        is_exact: Its answers are those of brute force: a generation that disagrees is refused. And it may be given
            bounds that other shards have pruned; an index cannot tell such a band from one in which it failed.
        keeps_state: What an actor makes of a shard is worth keeping for the next block: an index, or a copy on its GPU.
        needs_gpu: It runs on a GPU alone.
    """

    open: Callable[[Shard, MiningConfig, str], ShardSearch]
    unavailable_reason: Callable[[], str | None]
    is_exact: bool = True
    keeps_state: bool = False
    needs_gpu: bool = False


def _open_reference(shard: Shard, config: MiningConfig, device: str) -> ShardSearch:
    return lambda queries, num_negatives: (reference.scan(queries, shard, num_negatives), 0)


def _open_triton(shard: Shard, config: MiningConfig, device: str) -> ShardSearch:
    from pipeline.mining.backends.triton import TritonScan  # noqa: PLC0415 — brings torch, which others do without

    return TritonScan(shard, device=device)


def _open_faiss(shard: Shard, config: MiningConfig, device: str) -> ShardSearch:
    scan = open_search(config, choose_backend(device), shard, device)
    return faiss.FaissIndex(shard, config.index, scan, device)


BACKENDS: dict[str, Backend] = {
    # Only the actors' nodes need have a GPU: TritonScan looks there.
    "triton": Backend(_open_triton, lambda: None, keeps_state=True, needs_gpu=True),
    "native": Backend(lambda shard, config, device: NativeScan(shard), native_unavailable_reason),
    "reference": Backend(_open_reference, lambda: None),
    "faiss": Backend(_open_faiss, faiss.unavailable_reason, is_exact=False, keeps_state=True),
}
"""Fastest first, as `auto` takes them. A new backend is an entry here, and a name in ``MiningConfig.backend``."""


def choose_backend(device: str) -> str:
    """The backend that ``auto`` means on a device ("cpu" or "cuda"): the fastest exact one that can be had."""
    fit = {name: backend for name, backend in BACKENDS.items() if backend.is_exact}
    return next(
        name
        for name, backend in fit.items()
        if backend.needs_gpu == (device == "cuda") and backend.unavailable_reason() is None
    )


def resolve_backend(config: MiningConfig, device: str = "cpu") -> str:
    """The name of the backend that the config means on a device.

    Raises:
        InputError: What was asked for cannot be had.
    """
    if config.backend == "auto":
        return choose_backend(device)
    if (reason := BACKENDS[config.backend].unavailable_reason()) is not None:
        raise InputError(f"mining.backend is {config.backend}, but {reason}, or set mining.backend reference")
    return config.backend


def open_search(config: MiningConfig, backend: str, shard: Shard, device: str = "cpu") -> ShardSearch:
    """Opens a shard for search.

    Args:
        config: For the index of the backend `faiss`.
        backend: As ``resolve_backend`` gave it.
        shard: Candidates.
        device: "cpu" or "cuda": what a backend that can use a GPU runs on.

    Raises:
        InputError: The backend, or what it needs, cannot be had here.
    """
    return BACKENDS[backend].open(shard, config, device)
