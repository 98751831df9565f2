"""What others offer for the same vectors. Each peer is an optional package; none is imported before it is asked for."""

import functools
import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pipeline.arrays import Float32Array
from pipeline.benchmark.contest import compete
from pipeline.benchmark.synthetic import Size, World, make_shard
from pipeline.errors import InputError

PEERS = ("faiss", "torch", "sentence-transformers", "pytorch-metric-learning")

_PACKAGES = {
    "faiss": ("faiss", "cpu"),
    "sentence-transformers": ("sentence_transformers", "bench"),
    "pytorch-metric-learning": ("pytorch_metric_learning", "bench"),
}


def load_peer(name: str) -> Any:  # noqa: ANN401 — modules without types
    """The peer's module.

    Raises:
        InputError: It is not installed.
    """
    if name == "torch":
        return torch
    module, extra = _PACKAGES[name]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"the peer {name} is not installed here ({error}): pip install -e '.[{extra}]', or leave it out of --peers"
        ) from None


def faiss_search(world: World, k: int, size: Size) -> Callable[[], object]:
    """FAISS's exact inner-product index: the k nearest of each anchor, of any label; float16 storage on a GPU."""
    faiss = load_peer("faiss")
    index = faiss.IndexFlatIP(world.shard.vectors_ND.shape[1])
    if size.device == "cuda":
        if not hasattr(faiss, "StandardGpuResources"):
            raise InputError("the faiss that is installed here has no GPU part: pip install -e '.[gpu]'")
        options = faiss.GpuClonerOptions()
        options.useFloat16 = True
        resources = faiss.StandardGpuResources()
        index = faiss.index_cpu_to_gpu(resources, 0, index, options)
    index.add(world.shard.vectors_ND.astype(np.float32, copy=False))

    def run() -> object:
        faiss.omp_set_num_threads(size.num_threads)
        return index.search(world.queries.vectors_AD, k)

    return run


def torch_search(world: World, k: int, size: Size) -> Callable[[], object]:
    """torch.mm, 2,048 anchors at a time, and topk on the products; float16 on a GPU."""
    dtype = torch.float16 if size.device == "cuda" else torch.float32
    anchors, candidates = (
        torch.from_numpy(vectors).to(size.device, dtype)
        for vectors in (world.queries.vectors_AD, world.shard.vectors_ND)
    )

    def run() -> object:
        torch.set_num_threads(size.num_threads)
        starts = range(0, len(anchors), 2048)
        found = [torch.topk(torch.mm(anchors[start : start + 2048], candidates.T), k, dim=1) for start in starts]
        return [one.indices.cpu() for one in found]

    return run


def matrix_products(size: Size) -> dict[str, float]:
    """The machine's own limit: products of D dimensions a second in one large torch.mm, by type."""
    side = 8192 if size.device == "cuda" else 4096
    torch.set_num_threads(size.num_threads)
    rates = {}
    for dtype in (
        (torch.float32, torch.bfloat16, torch.float16) if size.device == "cuda" else (torch.float32, torch.bfloat16)
    ):
        a, b = (torch.randn(side, side, device=size.device).to(dtype) for _ in range(2))
        seconds = compete({"mm": functools.partial(_multiply, a, b)}, 3).median("mm")
        rates[str(dtype).removeprefix("torch.")] = side**3 / size.num_dims / seconds
    return rates


def _multiply(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.mm(a, b)
    if a.is_cuda:
        torch.cuda.synchronize()


class _Lookup:
    """Stands where sentence-transformers wants a model: "encodes" an id as the vector that is there already."""

    device = torch.device("cpu")

    def __init__(self, vectors_ND: Float32Array) -> None:
        self._vectors, self.seconds = vectors_ND, 0.0
        util = importlib.import_module("sentence_transformers.util")
        self.similarity, self.similarity_pairwise = util.dot_score, util.pairwise_dot_score

    def encode_document(self, texts: list[str], **_: object) -> Float32Array:
        start = time.perf_counter()
        vectors: Float32Array = self._vectors[np.array(texts, dtype=np.int64)]
        self.seconds += time.perf_counter() - start
        return vectors

    encode_query = encode_document

    def get_embedding_dimension(self) -> int:
        return len(self._vectors[0])


def sentence_transformers_alone(size: Size, noise: float) -> dict[str, float]:
    """``mine_hard_negatives`` of sentence-transformers on the same vectors, in a process of its own.

    One positive an anchor, negatives farther than the positive (absolute_margin 0), everything else as it comes.

    Returns:
        Seconds of search and selection (without embedding), and the share of anchors that got a negative.
    """
    mine = importlib.import_module("sentence_transformers.util").mine_hard_negatives
    datasets = importlib.import_module("datasets")
    torch.set_num_threads(size.num_threads)
    shard, num_examples = make_shard(size, noise), size.num_examples
    first_N = np.arange(num_examples) // size.examples_per_label * size.examples_per_label
    length_N = np.minimum(first_N + size.examples_per_label, num_examples) - first_N
    positive_N = first_N + (np.arange(num_examples) - first_N + 1) % length_N  # the next of its label
    texts = [str(i) for i in range(num_examples)]
    dataset = datasets.Dataset.from_dict({"anchor": texts, "positive": [str(i) for i in positive_N]})
    model = _Lookup(shard.vectors_ND)
    start = time.perf_counter()
    mined = mine(dataset, model, corpus=texts, absolute_margin=0.0, num_negatives=1, verbose=False)
    return {
        "seconds": time.perf_counter() - start - model.seconds,
        "answered": len(mined) / num_examples,
    }


def metric_learning_alone(size: Size, noise: float) -> dict[str, float]:
    """pytorch-metric-learning's BatchEasyHardMiner (hardest positive, semi-hard negative) on N x N distances."""
    module: Any = importlib.import_module("pytorch_metric_learning.miners")
    torch.set_num_threads(size.num_threads)
    shard, num_examples = make_shard(size, noise), size.num_examples
    miner = module.BatchEasyHardMiner(pos_strategy="hard", neg_strategy="semihard")
    start = time.perf_counter()
    anchors, *_ = miner(torch.from_numpy(shard.vectors_ND), torch.from_numpy(shard.labels_N.astype(np.int64)))
    return {"seconds": time.perf_counter() - start, "answered": len(anchors) / num_examples}


ALONE: dict[str, tuple[Callable[[Size, float], dict[str, float]], tuple[str, ...]]] = {
    "sentence-transformers": (sentence_transformers_alone, ("sentence_transformers.util", "datasets")),
    "pytorch-metric-learning": (metric_learning_alone, ("pytorch_metric_learning.miners",)),
}
"""What runs a peer in a process of its own, and what it imports."""
