"""The pass of a verification over all triplets: shard by shard, its blocks shared out among threads."""

import functools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.inspection.findings import Findings
from pipeline.inspection.inspected import Inspected
from pipeline.inspection.query.predicates import WORDS, Broken, Examples, broken_by_distance, broken_by_ids
from pipeline.inspection.verify.stored_vectors import read_vectors
from pipeline.mining.triplets import Triplets
from pipeline.progress import stage
from pipeline.triplets.schema import TRIPLETS, count_kinds, from_arrow

_ROWS_PER_BLOCK = 1 << 14  # what a thread checks at once

Int64Array = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.floating]
Rows = slice | Int64Array


def read_table(read: Callable[[], pa.Table], name: str, schema: pa.Schema, findings: Findings) -> pa.Table | None:
    """A part that has its digest; None, and a finding, where it is no Parquet file of the schema all the same."""
    try:
        table = read()
    except (pa.ArrowException, OSError) as error:
        findings.state(f"{name} is no Parquet file that can be read ({' '.join(str(error).split())})")
        return None
    if not table.schema.equals(schema):
        columns = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        findings.state(f"{name} has other columns than it should ({columns})")
        return None
    return table


@dataclass(frozen=True)
class _Located:
    """Triplets, and where each lies."""

    triplets: Triplets
    shard_T: Int64Array
    row_T: Int64Array

    @classmethod
    def of_shard(cls, shard: int, table: pa.Table) -> "_Located":
        return cls(from_arrow(table), np.broadcast_to(np.int64(shard), len(table)), np.arange(len(table)))

    @classmethod
    def concatenate(cls, several: Sequence["_Located"]) -> "_Located":
        shard_T, row_T = (np.concatenate([getattr(one, name) for one in several]) for name in ("shard_T", "row_T"))
        return cls(Triplets.concat([one.triplets for one in several]), shard_T, row_T)

    def take(self, rows: Rows) -> "_Located":
        return _Located(self.triplets.take(rows), self.shard_T[rows], self.row_T[rows])

    def describe(self, place: int) -> str:
        anchor, positive, negative, d_ap, d_an = (column[place] for column in vars(self.triplets).values())
        return (
            f"row {self.row_T[place]:,} of shard {self.shard_T[place]}: anchor {anchor}, positive {positive}, negative "
            f"{negative}, d_ap {d_ap:.7g}, d_an {d_an:.7g}"
        )


class TripletPass:
    """Looks at all triplets once.

    Attributes:
        num_triplets: Looked at.
        num_distances: Of them, those whose distances were computed again.
        largest_difference: Between these and the published ones.
        check_s: Seconds spent on predicates and distances; reading is not counted.
    """

    def __init__(
        self,
        inspected: Inspected,
        examples: Examples,
        findings: Findings,
        drawn: Int64Array | None = None,
        vectors_ND: FloatArray | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            inspected: The generation.
            examples: What ids may be used for.
            findings: Where to put what is wrong.
            drawn: Triplets whose distances are computed again, as rows counted over all shards, ascending.
            vectors_ND: All examples' embeddings: then the distances of all triplets are computed again.
        """
        self._inspected, self._examples, self._findings = inspected, examples, findings
        self._drawn, self._vectors_ND = np.empty(0, dtype=np.int64) if drawn is None else drawn, vectors_ND
        self._band = inspected.manifest.mining.band
        self._kinds: dict[str, int] = {}
        self._last_anchor = -1
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1)
        self.num_triplets = self.num_distances = 0
        self.largest_difference = self.check_s = 0.0

    def run(self) -> None:
        """Looks at every shard, then at the sums, then at the distances of the drawn triplets."""
        generation, manifest = self._inspected.generation, self._inspected.manifest
        sample: list[_Located] = []
        first_row, all_read = 0, True
        with self._threads:
            with stage("verify", manifest.num_triplets, "triplets") as done:
                for shard, part in enumerate(manifest.parts_of("triplets")):
                    read = functools.partial(generation.shard, shard)
                    table = read_table(read, f"shard {shard}", TRIPLETS, self._findings)
                    if table is not None:
                        located = _Located.of_shard(shard, table)
                        self._check_shard(shard, located, part.num_rows)
                        is_here = (self._drawn >= first_row) & (self._drawn < first_row + len(table))
                        sample.append(located.take(self._drawn[is_here] - first_row))
                    all_read = all_read and table is not None
                    first_row += part.num_rows
                    done(part.num_rows)
            if all_read:
                self._check_sums()
            if len(self._drawn) and sample:
                self._check_sample(_Located.concatenate(sample))

    def _check_shard(self, shard: int, located: _Located, num_promised: int) -> None:
        triplets, anchor, num = located.triplets, located.triplets.anchor_T, len(located.triplets)
        is_sorted = (anchor[1:] >= anchor[:-1]).all() and (num == 0 or anchor[0] >= self._last_anchor)
        for name, words, holds in (
            ("shard_has_rows_promised", "hold another number of rows than the manifest promises", num == num_promised),
            ("shard_sorted_by_anchor", "are not sorted by anchor", is_sorted),
        ):
            self._findings.count(name, words, "shards", np.array([not holds]), lambda _: f"shard {shard}")
        self._last_anchor = int(anchor[-1]) if num else self._last_anchor
        for kind, count in count_kinds(triplets.d_ap_T, triplets.d_an_T, self._band.margin).items():
            self._kinds[kind] = self._kinds.get(kind, 0) + count
        self.num_triplets += num
        self._ask(located, self._check_block)

    def _check_block(self, block: Triplets) -> tuple[list[Broken], float]:
        broken = list(broken_by_ids(block, self._examples, self._band))
        if self._vectors_ND is None:
            return broken, 0.0
        by_distance, largest = broken_by_distance(block, self._vectors_ND, self._known_ids(block))
        return [*broken, *by_distance], largest

    def _known_ids(self, triplets: Triplets) -> Int64Array:
        """Anchors, positives and negatives, int64, shape (3, T); -1 for what is not in the corpus."""
        ids_3T = np.stack([triplets.anchor_T, triplets.positive_T, triplets.negative_T])
        return np.where((ids_3T >= 0) & (ids_3T < len(self._examples.labels_N)), ids_3T, -1)

    def _check_sums(self) -> None:
        manifest = self._inspected.manifest
        sums = {"": (self.num_triplets, manifest.num_triplets)}
        sums |= {f"{kind} ": (num, manifest.kinds.get(kind, 0)) for kind, num in self._kinds.items()}
        for kind, (num, promised) in sums.items():
            if num != promised:
                self._findings.state(f"its shards hold {num:,} {kind}triplets where the manifest promises {promised:,}")

    def _check_sample(self, sample: _Located) -> None:
        """Distances of the drawn triplets; only the vectors that these need are held."""
        ids_3T = self._known_ids(sample.triplets)
        is_wanted = np.zeros(len(self._examples.labels_N) + 1, dtype=np.bool_)
        is_wanted[ids_3T] = True
        is_wanted[-1] = False  # where -1 points
        wanted = np.flatnonzero(is_wanted)
        place = np.cumsum(is_wanted) - 1
        place[-1] = -1
        vectors_ND = read_vectors(self._inspected, wanted)

        def check(block: Triplets) -> tuple[list[Broken], float]:
            by_distance, largest = broken_by_distance(block, vectors_ND, place[self._known_ids(block)])
            return list(by_distance), largest

        self._ask(sample, check)

    def _ask(self, located: _Located, check: Callable[[Triplets], tuple[list[Broken], float]]) -> None:
        """Runs a check block by block, and adds what it finds in the order of the rows."""
        start = time.perf_counter()
        num = len(located.triplets)
        blocks = [
            located.take(slice(first, first + _ROWS_PER_BLOCK)) for first in range(0, max(num, 1), _ROWS_PER_BLOCK)
        ]
        answers = self._threads.map(check, (block.triplets for block in blocks))
        for block, (broken, largest) in zip(blocks, answers, strict=True):
            for name, is_broken in broken:
                self._findings.count(name, WORDS[name], "triplets", is_broken, block.describe)
                if name == "d_an_as_defined":
                    self.num_distances += len(is_broken)
            self.largest_difference = max(self.largest_difference, largest)
        self.check_s += time.perf_counter() - start
