"""The columns of a generation's parts, and its manifest."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from pipeline.config import MiningConfig, OldEncoder
from pipeline.mining.triplets import Triplets
from pipeline.storage.publish import Manifest

TRIPLETS = pa.schema(
    [
        pa.field("anchor", pa.int64(), nullable=False),
        pa.field("positive", pa.int64(), nullable=False),
        pa.field("negative", pa.int64(), nullable=False),
        pa.field("d_ap", pa.float32(), nullable=False),
        pa.field("d_an", pa.float32(), nullable=False),
    ]
)
"""example_ids, and squared L2 distances between the embeddings, in [0, 4]."""

QUARANTINE = pa.schema(
    [
        pa.field("example_id", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("excluded", pa.bool_(), nullable=False),
        pa.field("other_id", pa.int64()),
        pa.field("distance", pa.float32()),
        pa.field("score", pa.float32()),
        pa.field("suggested_label", pa.string()),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""What was left out or is suspect, and why; best-founded first within a reason.

``excluded`` says whether mining did without it; what reported only took part. The evidence, where a reason has it: the
other example of a pair and the squared L2 distance to it, a score (higher is more suspect; its scale is the reason's
own), the label that the neighbourhood suggests.
"""

NEIGHBOURS = pa.schema(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("neighbour", pa.string(), nullable=False),
        pa.field("num_triplets", pa.int64(), nullable=False),
        pa.field("min_d_an", pa.float32(), nullable=False),
    ]
)
"""Label of anchors, label of their mined negatives, how many triplets join them, and their closest distance."""

KINDS = ("hard", "semi_hard", "easy")


class GenerationManifest(Manifest):
    """One published set of triplets. Parts have the roles `triplets`, `quarantine` and `neighbours`."""

    kind: Literal["generation"] = "generation"
    refresh_key: str
    """Digest of (weights, corpus, preprocessing, mining config, seed): equal keys, equal triplets (but see
    ``warm_start_generation``)."""
    checkpoint_step: int
    weights_digest: str
    corpus_fingerprint: str
    embeddings_key: str
    mining: MiningConfig
    backend: str
    num_pairs: int
    num_pairs_without_negative: int
    num_triplets: int
    kinds: dict[str, int]
    """Triplets by kind, for the configured margin."""
    quarantined: dict[str, int]
    """How many of each reason were found; of what is only reported, the quarantine may list fewer."""
    num_pairs_from_index_to_scan: int
    """Pairs, summed over shards, that the index of backend `faiss` could not resolve."""
    num_pairs_verified: int
    """Pairs of a sample of anchors that float64 brute force answered too."""
    agreement: float
    """Share of them whose negatives are as near as brute force's, to 1e-6; an exact scan that has less is refused."""
    warm_start_generation: int | None
    """The generation whose negatives the search began from; with sampled candidates, the triplets depend on it too."""
    spread: float
    effective_rank: float
    audit: dict[str, float] = Field(default_factory=dict)
    """What else the audit saw: neighbour_accuracy (share of the training examples with a positive whose nearest
    example is one), most_triplets_of_a_negative, num_triplets_left_out_by_hubs."""
    harmonic: OldEncoder | None = None
    """The old encoder whose vectors a share of the examples stood with: distances are between vectors of both."""
    old_share: float = 0.0
    """That share; which examples it was, seed and checkpoint step say."""
    old_embeddings_key: str | None = None
    """Of the stored embeddings of the old encoder."""


def to_arrow(triplets: Triplets) -> pa.Table:
    """Triplets as an Arrow table in the schema TRIPLETS."""
    return pa.table(list(vars(triplets).values()), schema=TRIPLETS)


def from_arrow(table: pa.Table) -> Triplets:
    """The triplets of a table in the schema TRIPLETS."""
    return Triplets(*(table[name].to_numpy() for name in TRIPLETS.names))


def count_kinds(d_ap_T: npt.NDArray[np.float32], d_an_T: npt.NDArray[np.float32], margin: float) -> dict[str, int]:
    """Triplets by kind: hard (d_an <= d_ap), semi_hard (d_ap < d_an < d_ap + margin), easy (the rest)."""
    hard = d_an_T <= d_ap_T
    easy = d_an_T.astype(np.float64) >= d_ap_T.astype(np.float64) + margin
    counts = (int(hard.sum()), int((~hard & ~easy).sum()), int((easy & ~hard).sum()))
    return dict(zip(KINDS, counts, strict=True))
