"""The reasons for which examples and pairs come into a generation's quarantine, and its table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.triplets.schema import QUARANTINE


@dataclass(frozen=True)
class Reason:
    """Why something is in the quarantine.

    Attributes:
        words: What was seen, for a person.
        consequence: What mining did about it where it was excluded.
        of_example: Where excluded, the whole example is, in every role and every batch.
        of_pair: Where excluded, the pair is: never anchor and negative.
        both_ways: Nor the other way round.
    """

    words: str
    consequence: str
    of_example: bool = False
    of_pair: bool = False
    both_ways: bool = False


REASONS = {
    "non_finite_embedding": Reason(
        "the encoder gave NaN or infinity", "used neither as anchor nor as candidate", of_example=True
    ),
    "zero_embedding": Reason(
        "the encoder gave zero, which has no direction", "used neither as anchor nor as candidate", of_example=True
    ),
    "singleton": Reason("the only training example of its label: no positive, still a candidate", ""),
    "label_noise_suspect": Reason(
        "another label's nearest two examples are much closer than its own label's (score: 1 - other / own)",
        "used neither as anchor nor as candidate",
        of_example=True,
    ),
    "near_duplicate_across_labels": Reason(
        "all but equal to an example of another label", "never mined as a pair", of_pair=True, both_ways=True
    ),
    "mutual_neighbours_across_labels": Reason(
        "it and an example of another label are each other's nearest",
        "never mined as a pair",
        of_pair=True,
        both_ways=True,
    ),
    "false_negative_suspect": Reason(
        "an example of another label is closer than its own label's (score: by how much)",
        "never its negative, nor any that is nearer than distance + score",
        of_pair=True,
    ),
    "hub": Reason("the negative of very many triplets", "triplets beyond the cap left out"),
}
"""By the word that the table holds."""


@dataclass(frozen=True)
class Evidence:
    """What speaks against R examples, where a reason has it.

    Attributes:
        other_R: The other example of each pair.
        distance_R: Squared L2 distance to it.
        score_R: How suspect; higher is more.
        suggested_R: The label that the neighbourhood suggests.
    """

    other_R: npt.NDArray[np.int64] | None = None
    distance_R: npt.NDArray[np.float32] | None = None
    score_R: npt.NDArray[np.float32] | None = None
    suggested_R: Sequence[str] | None = None


def quarantine_rows(
    reason: str, ids_R: npt.NDArray[np.int64], evidence: Evidence | None = None, *, excluded: bool
) -> pa.Table:
    """Rows of one reason, in the schema QUARANTINE, in the order given.

    Args:
        reason: Of REASONS.
        ids_R: Example ids.
        evidence: Of the same length.
        excluded: Whether mining did without the examples, or pairs.
    """
    evidence = evidence or Evidence()
    num_rows = len(ids_R)
    known = REASONS[reason]
    detail = f"{known.words}: {known.consequence}" if excluded else known.words
    columns = {
        "example_id": ids_R,
        "reason": pa.repeat(reason, num_rows),
        "excluded": pa.repeat(excluded, num_rows),
        "other_id": evidence.other_R,
        "distance": evidence.distance_R,
        "score": evidence.score_R,
        "suggested_label": evidence.suggested_R,
        "detail": pa.repeat(detail, num_rows),
    }
    arrays = [
        pa.nulls(num_rows, field.type) if columns[field.name] is None else pa.array(columns[field.name], field.type)
        for field in QUARANTINE
    ]
    return pa.Table.from_arrays(arrays, schema=QUARANTINE)


def excluded_examples(quarantine: pa.Table) -> npt.NDArray[np.int64]:
    """Ids of the examples that no batch and no triplet may hold, int64, ascending."""
    kept = _excluded(quarantine, [reason for reason, known in REASONS.items() if known.of_example])
    ids: npt.NDArray[np.int64] = np.unique(kept["example_id"].to_numpy(), return_counts=True)[0]
    return ids


def excluded_pairs(quarantine: pa.Table) -> npt.NDArray[np.int64]:
    """(anchor, negative) that no triplet may hold, int64, shape (P, 2)."""
    one_way = _excluded(quarantine, [reason for reason, known in REASONS.items() if known.of_pair])
    both = _excluded(quarantine, [reason for reason, known in REASONS.items() if known.both_ways])
    one_way_P2, both_P2 = (
        np.stack([table[name].to_numpy() for name in ("example_id", "other_id")], axis=1) for table in (one_way, both)
    )
    return np.concatenate([one_way_P2, both_P2[:, ::-1]]).astype(np.int64)


def _excluded(quarantine: pa.Table, reasons: list[str]) -> pa.Table:
    return quarantine.filter(pc.field("excluded") & pc.field("reason").isin(reasons))
