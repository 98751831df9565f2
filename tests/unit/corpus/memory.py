"""Peaks of memory, measured in a process of its own: in a test run's, other tests' garbage would be counted too.

Run as ``python -m tests.unit.corpus.memory archive FOLDER`` (or ``ingest``, ``relabel``); prints the peak in bytes for
few entries, then for many.
"""

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from pipeline.corpus.reader import Corpus
from pipeline.corpus.relabel import find_changes, relabel
from pipeline.corpus.sources.image_archive import ImageArchive
from pipeline.storage.workspace import Workspace
from tests.unit.corpus.samples import LIMITS, folder_config, png, run_prepare, write_tar


def archive(folder: Path, count: int) -> Callable[[], None]:
    """Reading an archive of ``count`` images."""
    image = png()
    file = write_tar(folder / f"{count}.tar", {f"p{i % 7}/{i}.png": image for i in range(count)})

    def read() -> None:
        gc.freeze()  # what is imported need not be gone through each time
        for number, _ in enumerate(ImageArchive(file, LIMITS)):
            if number % 50 == 0:
                gc.collect()  # garbage in cycles is not held, however seldom it is collected

    return read


def ingest(folder: Path, count: int) -> Callable[[], None]:
    """Preparing a corpus of ``count`` images in parts of 20."""
    noise = png(size=100)
    file = write_tar(folder / f"{count}.tar", {f"p{i % 10}/{i:04d}.png": noise for i in range(count)})
    workspace = Workspace.open(str(folder / str(count)), "main")

    def prepare() -> None:
        allocated = pa.default_memory_pool().bytes_allocated()
        run_prepare(folder_config(file, examples_per_part=20), workspace)
        assert pa.default_memory_pool().bytes_allocated() - allocated < 2**20

    return prepare


def relabelling(folder: Path, count: int) -> Callable[[], None]:
    """Changing one label of a corpus of ``count`` images in parts of 20."""
    ingest(folder, count)()
    workspace = Workspace.open(str(folder / str(count)), "main")

    def change() -> None:
        corpus = Corpus.open(workspace)
        relabel(workspace, corpus, find_changes(corpus, {0: "p1"}), 0, "c" * 64)

    return change


def peak(work: Callable[[], None]) -> int:
    """Most bytes that Python held at once during the work."""
    tracemalloc.start()
    work()
    high = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return high


def peaks(work: str, folder: Path) -> list[int]:
    """Peaks in bytes for few and for many entries, from a fresh process."""
    command = [sys.executable, "-m", "tests.unit.corpus.memory", work, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    return [int(figure) for figure in done.stdout.split()]


if __name__ == "__main__":
    make, few, many = {"archive": (archive, 100, 3000), "ingest": (ingest, 40, 400), "relabel": (relabelling, 40, 400)}[
        sys.argv[1]
    ]
    make(Path(sys.argv[2]), 39)()  # imports and caches
    print(peak(make(Path(sys.argv[2]), few)), peak(make(Path(sys.argv[2]), many)))
