"""What the tests that kill share: small jobs, a reader who looks on, and what is left in the end."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.schema import corpora
from pipeline.encoders.checkpoints import checkpoints
from pipeline.failpoints import FOLDER_VARIABLE, VARIABLE, Failpoint
from pipeline.storage.keys import TEMPORARY_PREFIX
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from tests.support import jobs
from tests.support.oracle import unit_vectors
from tests.unit.corpus import samples

NUM_VECTORS = 400
LOOP = (*jobs.TINY, "--corpus.test_fraction=0", *jobs.rounds(9, 3))
"""Three rounds of three steps, and nothing to evaluate."""
_PAUSE_S = 0.25


def mine_flags(vectors: Path) -> tuple[str, ...]:
    """The flags of jobs that mine vectors as they are: no encoder, and parts, shards and blocks by the dozen."""
    return (
        *jobs.vectors(vectors), "--corpus.examples_per_part=50", "--mining.rows_per_shard=300",
        "--cluster.num_shards=2", "--cluster.anchors_per_block=80",
    )  # fmt: skip


def write_vectors(path: Path, seed: int) -> Path:
    """Writes vectors of a hundred labels as a user's Parquet file; returns its path."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 100, NUM_VECTORS).astype(np.int32)
    matrix = unit_vectors(rng, labels, 16, 0.8)
    return samples.write_vectors(path, matrix.tolist(), labels, id=[f"doc-{row}" for row in range(NUM_VECTORS)])


def armed(folder: Path, kills: Mapping[Failpoint, Sequence[int]]) -> dict[str, str]:
    """The environment of processes that are killed at certain arrivals at places, counted over all of them."""
    folder.mkdir(exist_ok=True)
    every = [f"{place}=kill@{arrival}" for place, numbers in kills.items() for arrival in numbers]
    return {VARIABLE: ", ".join(every), FOLDER_VARIABLE: str(folder)}


@dataclass(frozen=True)
class Outcome:
    """What must not depend on who was killed.

    Attributes:
        corpora: Fingerprint of each corpus.
        weights: Weights digest of each checkpoint, by step.
        triplets: All triplets of each generation, by number.
        losses: Every step that the run took with its loss, from the log that checkpoints carry.
    """

    corpora: dict[int, str]
    weights: dict[int, str]
    triplets: dict[int, pa.Table]
    losses: list[tuple[int, float]]

    @classmethod
    def of(cls, folder: Path, run: str = "main") -> Self:
        """What a run has left in a workspace."""
        corpora, trained, mined = datasets(folder, run)
        return cls(
            {number: corpora.read(number).fingerprint for number in corpora.numbers()},
            {step: trained.read(step).weights_digest for step in trained.numbers()},
            {number: _triplets(Generation(mined, mined.read(number))) for number in mined.numbers()},
            _losses(trained),
        )


def datasets(folder: Path, run: str = "main") -> tuple[VersionedDataset[Any], ...]:
    """The corpora, the checkpoints and the generations of a workspace."""
    workspace = Workspace.open(str(folder), run)
    return corpora(workspace), checkpoints(workspace), generations(workspace)


def numbers_of(folder: Path, run: str = "main") -> str:
    """What is published, in words."""
    return ", ".join(f"{dataset.prefix.rpartition('/')[2]} {dataset.numbers()}" for dataset in datasets(folder, run))


def _triplets(generation: Generation) -> pa.Table:
    return pa.concat_tables(generation.shard(index) for index in range(generation.num_shards))


def _losses(trained: VersionedDataset[Any]) -> list[tuple[int, float]]:
    trace: list[tuple[int, float]] = []
    for number in trained.numbers()[1:]:
        log = pq.read_table(pa.BufferReader(trained.read_part(trained.read(number).parts_of("steps")[0])))
        trace += zip(log["step"].to_pylist(), log["loss"].to_pylist(), strict=True)
    return trace


def read_all(dataset: VersionedDataset[Any]) -> dict[int, str]:
    """Reads everything that is listed, each part checked by size and digest; returns the manifests by number.

    Raises:
        PipelineError: Something that is listed is missing, torn or damaged.
    """
    found = {}
    for number in dataset.numbers():
        manifest = dataset.read(number)
        for part in manifest.parts:
            dataset.read_part(part)
        found[number] = manifest.model_dump_json()
    return found


class Reader:
    """Reads everything again and again while others write and are killed: ``with Reader(datasets): ...``.

    What it finds must be whole; what it found once must stay as it was; and no listing may show a temporary file.
    What is wrong is raised at the end of the block.

    Attributes:
        num_looks: How often it has read everything.
    """

    def __init__(self, datasets: Sequence[VersionedDataset[Any]]) -> None:
        self._datasets = datasets
        self._seen: dict[str, dict[int, str]] = {dataset.prefix: {} for dataset in datasets}
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._look_until_ended)
        self.num_looks = 0

    def look(self) -> None:
        """Reads everything once."""
        with self._lock:  # of two looks at once, the one that began first may end last
            for dataset in self._datasets:
                seen, found = self._seen[dataset.prefix], read_all(dataset)
                lost = [number for number, manifest in seen.items() if found.get(number) != manifest]
                assert not lost, f"{dataset.prefix}: {lost} vanished or changed, of {sorted(seen)}"
                seen.update(found)
            names = self._datasets[0].store.list("")
            assert not [name for name in names if TEMPORARY_PREFIX in name], "a temporary file is listed"
            self.num_looks += 1

    def _look_until_ended(self) -> None:
        try:
            while not self._ended.is_set():
                self.look()
                time.sleep(_PAUSE_S)
        except Exception as error:  # noqa: BLE001 — raised where the block ends
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        if error is None:
            self.look()
