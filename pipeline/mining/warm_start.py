"""Begin a search from the answers of the generation before: they bound what is worth looking at.

A negative that was nearest under the last checkpoint is rarely far from it under the next. Scored again, it is a
valid answer from the first moment: the scan then looks for better ones only. Where all candidates are scanned this
changes no triplet; where a sample is scanned, it keeps the good ones of earlier samples.
"""

from dataclasses import replace

import numpy as np

from pipeline.mining.distance import squared_distances
from pipeline.mining.positives import Pairs
from pipeline.mining.queries import Queries
from pipeline.mining.shards import LabelGroups, ShardedVectors
from pipeline.mining.topk import Nearest
from pipeline.mining.triplets import Triplets


def rescore(
    old: Triplets, pairs: Pairs, queries: Queries, vectors: ShardedVectors, groups: LabelGroups, num_negatives: int
) -> Nearest:
    """Which old negatives still answer which pairs, at their distances of today.

    Args:
        old: Of an earlier generation of the same corpus; those of other pairs, and of examples that are no longer
            eligible, are passed over.
        pairs: Pairs of the block, sorted by anchor, then positive.
        queries: Their bands.
        vectors: Embeddings of today.
        groups: Who is eligible, and shares a label.
        num_negatives: M.

    Returns:
        P x M: old negatives inside their pair's band, scored by the definition.
    """
    found = Nearest.empty(len(pairs), num_negatives)
    if len(pairs) == 0 or len(old.anchor_T) == 0:
        return found
    base = max(int(column.max()) for column in (pairs.positive_P, old.positive_T)) + 1
    key_P, key_T = pairs.anchor_P * base + pairs.positive_P, old.anchor_T * base + old.positive_T
    row_T = np.minimum(np.searchsorted(key_P, key_T), len(key_P) - 1)
    known = (key_P[row_T] == key_T) & groups.contains(old.negative_T)
    row_K, negative_K = row_T[known], old.negative_T[known]
    d_an_K = squared_distances(vectors.take(pairs.anchor_P[row_K]), vectors.take(negative_K)).astype(np.float32)
    valid = groups.labels_of(negative_K) != queries.labels_A[queries.row_P[row_K]]
    valid &= (queries.lower_P[row_K] < d_an_K) & (d_an_K < queries.upper_P[row_K])
    found.push(row_K[valid], d_an_K[valid], negative_K[valid])
    return found


def prune_bounds(queries: Queries, found: Nearest) -> Queries:
    """The same queries without what is surely no answer: farther than the M-th best that is known already.

    An anchor's upper bounds still ascend with the lower ones, as the scans expect: a pair is cut no shorter than the
    anchor's pairs of lower bounds before it.
    """
    limit_P = np.nextafter(found.d_an_PM[:, -1], np.float32(np.inf))
    upper_P = np.minimum(queries.upper_P, limit_P)
    order = np.lexsort((queries.upper_P, queries.lower_P, queries.row_P))
    # A running maximum that begins anew with each anchor: an anchor's ranks lie above those of the anchors before.
    values, rank = np.unique(upper_P[order], return_inverse=True)
    offset = queries.row_P[order] * len(values)
    upper_P[order] = values[np.maximum.accumulate(rank + offset) - offset]
    return replace(queries, upper_P=upper_P)
