"""Reads a published generation: pinned by number, every part checked against its digest."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.publish import VersionedDataset
from pipeline.storage.workspace import Workspace
from pipeline.triplets.schema import TRIPLETS, GenerationManifest


def generations(workspace: Workspace) -> VersionedDataset[GenerationManifest]:
    """The generations of the workspace's run."""
    return VersionedDataset(workspace.store, workspace.generations_prefix, GenerationManifest)


class Generation:
    """One generation, opened for reading."""

    def __init__(self, dataset: VersionedDataset[GenerationManifest], manifest: GenerationManifest) -> None:
        """Opens the generation that a manifest names; reads nothing yet."""
        self._dataset = dataset
        self.manifest = manifest

    @property
    def number(self) -> int:
        """The generation's number."""
        return self.manifest.number

    @property
    def num_shards(self) -> int:
        """Shards of triplets; at least one."""
        return len(self.manifest.parts_of("triplets"))

    def shard(self, index: int) -> pa.Table:
        """Triplets of a shard, in the schema TRIPLETS.

        Raises:
            CorruptDataError: The bytes are not those that were published.
        """
        return self._read("triplets", index)

    def neighbours(self) -> pa.Table:
        """The neighbours table."""
        return self._read("neighbours", 0)

    def quarantine(self) -> pa.Table:
        """What was left out and why."""
        return self._read("quarantine", 0)

    def _read(self, role: str, index: int) -> pa.Table:
        part = self.manifest.parts_of(role)[index]
        return pq.read_table(pa.BufferReader(self._dataset.read_part(part)))


class TripletStream:
    """A generation's triplets in order of their anchors, a stretch at a time. Shards are sorted: each is read once."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._next_shard = 0
        self._rest: pa.Table = TRIPLETS.empty_table()

    def up_to(self, anchor: int) -> pa.Table:
        """All triplets not yet given whose anchor is at most ``anchor``, in the schema TRIPLETS."""
        taken = []
        while True:
            end = int(np.searchsorted(self._rest["anchor"].to_numpy(), anchor, side="right"))
            taken.append(self._rest.slice(0, end))
            self._rest = self._rest.slice(end)
            if len(self._rest) or self._next_shard == self._generation.num_shards:
                return pa.concat_tables(taken)
            self._rest = self._generation.shard(self._next_shard)
            self._next_shard += 1
