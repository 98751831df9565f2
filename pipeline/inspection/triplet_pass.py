"""The pass of a check over all triplets: shard by shard, in blocks on several threads."""

import functools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.arrays import FloatArray, Int64Array
from pipeline.inspection.findings import Findings
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.predicates import PROBLEMS, BrokenMask, Eligibility, check_distances, check_ids
from pipeline.inspection.verify.stored_vectors import read_vectors
from pipeline.mining.triplets import Triplets
from pipeline.progress import stage
from pipeline.triplets.schema import TRIPLETS, count_kinds, from_arrow

_ROWS_PER_BLOCK = 1 << 14  # rows that a thread checks at once

RowSelection = slice | Int64Array
CheckResult = tuple[list[BrokenMask], float]


def read_table(read: Callable[[], pa.Table], name: str, schema: pa.Schema, findings: Findings) -> pa.Table | None:
    """Reads a part with the right digest; None, and a finding, where it is no Parquet file of the schema."""
    try:
        table = read()
    except (pa.ArrowException, OSError) as error:
        findings.add_problem(f"{name} is no Parquet file that can be read ({' '.join(str(error).split())})")
        return None
    if not table.schema.equals(schema):
        columns = ", ".join(f"{field.name} {field.type}" for field in table.schema)
        findings.add_problem(f"{name} has other columns than it should ({columns})")
        return None
    return table


@dataclass(frozen=True)
class _LocatedTriplets:
    """Triplets with their shards and rows."""

    triplets: Triplets
    shard_T: Int64Array
    row_T: Int64Array

    @classmethod
    def of_shard(cls, shard: int, table: pa.Table) -> "_LocatedTriplets":
        return cls(from_arrow(table), np.broadcast_to(np.int64(shard), len(table)), np.arange(len(table)))

    @classmethod
    def concatenate(cls, parts: Sequence["_LocatedTriplets"]) -> "_LocatedTriplets":
        shard_T, row_T = (np.concatenate([getattr(part, name) for part in parts]) for name in ("shard_T", "row_T"))
        return cls(Triplets.concat([part.triplets for part in parts]), shard_T, row_T)

    def take(self, rows: RowSelection) -> "_LocatedTriplets":
        return _LocatedTriplets(self.triplets.take(rows), self.shard_T[rows], self.row_T[rows])

    def format_row(self, index: int) -> str:
        row = {name.removesuffix("_T"): column[index] for name, column in vars(self.triplets).items()}
        values = (f"{name} {f'{x:.7g}' if isinstance(x, np.floating) else x}" for name, x in row.items())
        return f"row {self.row_T[index]:,} of shard {self.shard_T[index]}: {', '.join(values)}"


class TripletPass:
    """Checks all triplets once.

    Attributes:
        num_triplets: Triplets that were checked.
        num_distances: Those of them whose distances were computed again.
        largest_difference: Between these distances and the published ones.
        check_s: Seconds spent on predicates and distances; reading is not counted.
    """

    def __init__(
        self,
        generation: OpenGeneration,
        eligibility: Eligibility,
        findings: Findings,
        sampled: Int64Array | None = None,
        vectors_ND: FloatArray | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            generation: The generation.
            eligibility: Which examples may be in which triplets.
            findings: Receives the results.
            sampled: Triplets whose distances are computed again, as rows counted over all shards, ascending.
            vectors_ND: All examples' embeddings: then the distances of all triplets are computed again.
        """
        self._generation, self._eligibility, self._findings = generation, eligibility, findings
        self._sampled, self._vectors_ND = np.empty(0, dtype=np.int64) if sampled is None else sampled, vectors_ND
        self._band = generation.manifest.mining.band
        self._kinds: dict[str, int] = {}
        self._last_anchor = -1
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1)
        self.num_triplets = self.num_distances = 0
        self.largest_difference = self.check_s = 0.0

    def run(self) -> None:
        """Checks every shard, then the totals, then the distances of the sampled triplets."""
        reader, manifest = self._generation.reader, self._generation.manifest
        sample: list[_LocatedTriplets] = []
        first_row, all_read = 0, True
        with self._threads:
            with stage("verify", manifest.num_triplets, "triplets") as advance:
                for shard, part in enumerate(manifest.parts_of("triplets")):
                    read = functools.partial(reader.shard, shard)
                    table = read_table(read, f"shard {shard}", TRIPLETS, self._findings)
                    if table is not None:
                        located = _LocatedTriplets.of_shard(shard, table)
                        self._check_shard(shard, located, part.num_rows)
                        is_here = (self._sampled >= first_row) & (self._sampled < first_row + len(table))
                        sample.append(located.take(self._sampled[is_here] - first_row))
                    all_read = all_read and table is not None
                    first_row += part.num_rows
                    advance(part.num_rows)
            if all_read:
                self._check_totals()
            if len(self._sampled) and sample:
                self._check_sample(_LocatedTriplets.concatenate(sample))

    def _check_shard(self, shard: int, located: _LocatedTriplets, num_promised: int) -> None:
        triplets, anchor, num = located.triplets, located.triplets.anchor_T, len(located.triplets)
        is_sorted = (anchor[1:] >= anchor[:-1]).all() and (num == 0 or anchor[0] >= self._last_anchor)
        for name, problem, holds in (
            ("shard_has_rows_promised", "hold another number of rows than the manifest promises", num == num_promised),
            ("shard_sorted_by_anchor", "are not sorted by anchor", is_sorted),
        ):
            self._findings.count(name, problem, "shards", np.array([not holds]), lambda _: f"shard {shard}")
        self._last_anchor = int(anchor[-1]) if num else self._last_anchor
        for kind, count in count_kinds(triplets.d_ap_T, triplets.d_an_T, self._band.margin).items():
            self._kinds[kind] = self._kinds.get(kind, 0) + count
        self.num_triplets += num
        self._run_check(located, self._check_block)

    def _check_block(self, block: Triplets) -> CheckResult:
        broken = list(check_ids(block, self._eligibility, self._band))
        if self._vectors_ND is None:
            return broken, 0.0
        by_distance, largest = check_distances(block, self._vectors_ND, self._known_ids(block))
        return [*broken, *by_distance], largest

    def _known_ids(self, triplets: Triplets) -> Int64Array:
        """Anchors, positives and negatives, int64, shape (3, T); -1 for ids that are not in the corpus."""
        ids_3T = np.stack([triplets.anchor_T, triplets.positive_T, triplets.negative_T])
        return np.where((ids_3T >= 0) & (ids_3T < len(self._eligibility.labels_N)), ids_3T, -1)

    def _check_totals(self) -> None:
        manifest = self._generation.manifest
        totals = {"": (self.num_triplets, manifest.num_triplets)}
        totals |= {f"{kind} ": (num, manifest.kinds.get(kind, 0)) for kind, num in self._kinds.items()}
        for kind, (num, promised) in totals.items():
            if num != promised:
                self._findings.add_problem(
                    f"its shards hold {num:,} {kind}triplets where the manifest promises {promised:,}"
                )

    def _check_sample(self, sample: _LocatedTriplets) -> None:
        """Checks the distances of the sampled triplets; reads only the vectors that they need."""
        ids_3T = self._known_ids(sample.triplets)
        is_needed = np.zeros(len(self._eligibility.labels_N) + 1, dtype=np.bool_)
        is_needed[ids_3T] = True
        is_needed[-1] = False  # the entry of id -1
        row_of_id = np.cumsum(is_needed) - 1
        row_of_id[-1] = -1
        vectors_ND = read_vectors(self._generation, np.flatnonzero(is_needed))

        def check(block: Triplets) -> CheckResult:
            by_distance, largest = check_distances(block, vectors_ND, row_of_id[self._known_ids(block)])
            return list(by_distance), largest

        self._run_check(sample, check)

    def _run_check(self, located: _LocatedTriplets, check: Callable[[Triplets], CheckResult]) -> None:
        """Runs a check block by block, and adds its findings in the order of the rows."""
        start = time.perf_counter()
        num = len(located.triplets)
        blocks = [
            located.take(slice(first, first + _ROWS_PER_BLOCK)) for first in range(0, max(num, 1), _ROWS_PER_BLOCK)
        ]
        results = self._threads.map(check, (block.triplets for block in blocks))
        for block, (broken, largest) in zip(blocks, results, strict=True):
            for name, is_broken in broken:
                self._findings.count(name, PROBLEMS[name], "triplets", is_broken, block.format_row)
                if name == "d_an_as_defined":
                    self.num_distances += len(is_broken)
            self.largest_difference = max(self.largest_difference, largest)
        self.check_s += time.perf_counter() - start
