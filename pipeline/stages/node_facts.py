"""What a node is and has: asked of this machine, or of each node of a cluster by a task on it."""

import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.corpus.cache import cache_root
from pipeline.corpus.cache_folder import cache_size
from pipeline.errors import InputError
from pipeline.mining.backends.faiss import import_faiss
from pipeline.mining.backends.native.compiled import instruction_sets, unavailable_reason
from pipeline.storage.manifest import library_versions
from pipeline.units import in_bytes

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_ASK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class NodeFacts:
    """A node.

    Attributes:
        host: Its name.
        versions: Of Python and the libraries that are installed.
        native: The compiled scan's instruction set, or why it is missing.
        faiss: FAISS's version and build, or that there is none.
        num_cpus: That this process may use.
        memory_bytes: In all: the machine's, or its container's limit.
        memory_free_bytes: Of the machine, now.
        cache_dir: Where trainers cache the corpus.
        cache_bytes: What lies there.
        cache_free_bytes: Room on that disk.
        spill_free_bytes: Room where Ray writes: logs, and what its shared memory cannot hold.
        gpus: Names.
        gpu_memory_bytes: Of the first.
    """

    host: str
    versions: dict[str, str]
    native: str
    faiss: str
    num_cpus: int
    memory_bytes: int
    memory_free_bytes: int
    cache_dir: str
    cache_bytes: int
    cache_free_bytes: int
    spill_free_bytes: int
    gpus: tuple[str, ...]
    gpu_memory_bytes: int


def look_at_node(cache_dir: str | None) -> NodeFacts:
    """This machine, as a process on it sees it; ``cache_dir`` as in the config."""
    cache = cache_root(cache_dir)
    devices = range(torch.cuda.device_count())
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return NodeFacts(
        host=platform.node(),
        versions=library_versions(),
        native=unavailable_reason() or f"the compiled scan uses {instruction_sets()[-1]}",
        faiss=describe_faiss(),
        num_cpus=len(os.sched_getaffinity(0)),
        memory_bytes=min([total, *_container_limits()]),
        memory_free_bytes=_kernels_bytes("meminfo", "MemAvailable"),  # without swapping
        cache_dir=str(cache),
        cache_bytes=cache_size(cache).num_bytes,
        cache_free_bytes=_free_bytes(cache),
        spill_free_bytes=_free_bytes(Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))),
        gpus=tuple(torch.cuda.get_device_name(device) for device in devices),
        gpu_memory_bytes=torch.cuda.get_device_properties(0).total_memory if devices else 0,
    )


def look_at_nodes(cache_dir: str | None) -> list[NodeFacts]:
    """Every node of the cluster that is joined, in the order of their names.

    Raises:
        ray.exceptions.GetTimeoutError: A node does not answer.
    """
    look: Any = ray.remote(look_at_node)
    asked = [
        look.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            cache_dir
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    ]
    found: list[NodeFacts] = ray.get(asked, timeout=_ASK_TIMEOUT_S)
    return sorted(found, key=lambda node: node.host)


def describe_room(node: NodeFacts) -> str:
    """Memory and disks of a node, in words."""
    return (
        f"{in_bytes(node.memory_free_bytes)} of {in_bytes(node.memory_bytes)} memory free; disk: "
        f"{in_bytes(node.spill_free_bytes)} free where Ray spills, {in_bytes(node.cache_free_bytes)} where trainers "
        f"cache ({node.cache_dir} holds {in_bytes(node.cache_bytes)})"
    )


def differences(here: Mapping[str, str], nodes: Sequence[NodeFacts]) -> list[str]:
    """Libraries that a node has in another version than this machine; one that either lacks is no difference."""
    found = Counter(
        f"{name} {node.versions[name]}, here {version}"
        for node in nodes
        for name, version in here.items()
        if node.versions.get(name, version) != version
    )
    return [f"{count} node{'s have' if count > 1 else ' has'} {words}" for words, count in sorted(found.items())]


def describe_faiss() -> str:
    """FAISS's version, the processors that it was built for, and whether it reaches a GPU."""
    try:
        faiss = import_faiss()
    except InputError:
        return "no faiss"
    gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else None
    kind = "CPU build" if gpus is None else f"GPU build, {gpus} GPU{'s' if gpus != 1 else ''}"
    return f"faiss {faiss.__version__}, {kind} ({faiss.get_compile_options().strip()})"


def resident_bytes(peak: bool = False) -> int:
    """Resident memory of this process, now or at its peak (Linux)."""
    return _kernels_bytes("self/status", "VmHWM" if peak else "VmRSS")


def _free_bytes(folder: Path) -> int:
    """Room on the disk of a folder, or of the nearest that exists above it."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _kernels_bytes(file: str, field: str) -> int:
    """A number that Linux gives in one of its files under /proc."""
    lines = Path("/proc", file).read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def _container_limits() -> list[int]:
    found = [Path(name).read_text().strip() for name in _CGROUP_LIMITS if Path(name).exists()]
    return [int(limit) for limit in found if limit.isdecimal()]
