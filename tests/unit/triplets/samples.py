"""A small generation, as the refresh would publish it."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config import MiningConfig
from pipeline.mining.triplets import Triplets
from pipeline.storage.publish import Transaction
from pipeline.storage.workspace import Workspace
from pipeline.triplets.neighbours import NeighbourTally
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import QUARANTINE, GenerationManifest, to_arrow
from pipeline.triplets.writer import TripletWriter, add_side_tables

ALONE = {"example_id": 7, "reason": "singleton", "excluded": True, "detail": "alone"}
QUARANTINE_ROW = dict.fromkeys(QUARANTINE.names) | ALONE


def triplets(num: int, seed: int = 0) -> pa.Table:
    """Random triplets, sorted by anchor, semi-hard by 0.1."""
    rng = np.random.default_rng(seed)
    anchor = np.sort(rng.integers(0, 2**40, num))
    d_ap = rng.uniform(0, 1, num).astype(np.float32)
    return to_arrow(Triplets(anchor, anchor + 1, rng.integers(0, 2**40, num), d_ap, d_ap + np.float32(0.1)))


def manifest_of(transaction: Transaction[GenerationManifest], num_triplets: int, step: int = 0) -> GenerationManifest:
    """A manifest around the transaction's parts."""
    return GenerationManifest(
        **transaction.manifest_fields(),
        parent=None,
        seed=0,
        config_digest="c" * 64,
        refresh_key="r" * 64,
        checkpoint_step=step,
        weights_digest="w" * 64,
        corpus_fingerprint="f" * 64,
        embeddings_key="e" * 32,
        mining=MiningConfig(),
        backend="reference",
        num_pairs=num_triplets,
        num_pairs_without_negative=0,
        num_triplets=num_triplets,
        kinds={"hard": 0, "semi_hard": num_triplets, "easy": 0},
        quarantined={"singleton": 1},
        num_pairs_from_index_to_scan=0,
        num_pairs_verified=num_triplets,
        agreement=1.0,
        warm_start_generation=None,
        spread=0.5,
        effective_rank=10.0,
    )


def publish(folder: Path, tables: list[pa.Table], rows_per_shard: int, number: int = 0, step: int = 0) -> Generation:
    """Publishes a generation of these triplets and opens it."""
    workspace = Workspace.open(str(folder), "main")
    dataset = generations(workspace)
    transaction = dataset.begin(number)
    writer = TripletWriter(transaction, rows_per_shard, {"generation": str(number)})
    for table in tables:
        writer.write(table)
    writer.close()
    tally = NeighbourTally(3)
    tally.add(np.array([0, 0, 1], np.int32), np.array([1, 1, 2], np.int32), np.array([0.3, 0.2, 0.1], np.float32))
    quarantine = pa.Table.from_pylist([QUARANTINE_ROW], schema=QUARANTINE)
    add_side_tables(transaction, quarantine, tally.table(["a", "b", "c"], 5))
    manifest, ours = transaction.commit(manifest_of(transaction, sum(map(len, tables)), step))
    assert ours
    return Generation(dataset, manifest)
