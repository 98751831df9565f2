"""The diff of two generations: triplets in both, and pairs that entered, left, or have other negatives."""

from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.sql import SqlSession

# A row of ``joined`` is a triplet of either generation, or of both. A pair whose triplets are all in both is the same.
_STATEMENT = """
WITH joined AS (
    SELECT anchor, positive, o.d_an AS old_d_an, n.d_an AS new_d_an
    FROM triplets_{old} o FULL JOIN triplets_{new} n USING (anchor, positive, negative)
), pairs AS (
    SELECT anchor, count(*) AS num_triplets,
           count(*) FILTER (old_d_an IS NOT NULL AND new_d_an IS NOT NULL) AS num_kept,
           min(old_d_an)::DOUBLE AS was, min(new_d_an)::DOUBLE AS is_now
    FROM joined GROUP BY anchor, positive
)
SELECT sum(num_kept)::BIGINT,
       count(*) FILTER (num_kept = num_triplets),
       count(*) FILTER (num_kept < num_triplets AND was IS NOT NULL AND is_now IS NOT NULL),
       count(*) FILTER (was IS NULL), count(*) FILTER (is_now IS NULL), label,
       count(*) FILTER (is_now < was), count(*) FILTER (is_now > was),
       coalesce(sum(was) FILTER (is_now IS NOT NULL), 0), coalesce(sum(is_now) FILTER (was IS NOT NULL), 0)
FROM pairs JOIN corpus ON example_id = anchor GROUP BY label
"""


@dataclass(frozen=True)
class PairCounts:
    """Counts of the pairs of two generations. A pair is an anchor and a positive.

    Attributes:
        num_kept: Triplets in both.
        num_same: Pairs in both, with the same negatives.
        num_changed: Pairs in both, with other negatives.
        num_entered: Pairs in the newer one only.
        num_left: Pairs in the older one only.
    """

    num_kept: int
    num_same: int
    num_changed: int
    num_entered: int
    num_left: int

    @property
    def num_pairs(self) -> int:
        """Pairs in either generation."""
        return self.num_same + self.num_changed + self.num_entered + self.num_left

    @property
    def changed_share(self) -> float:
        """Share of the pairs that are not in both with the same negatives; 0 where there are none."""
        return 1.0 - self.num_same / self.num_pairs if self.num_pairs else 0.0


@dataclass(frozen=True)
class LabelDiff(PairCounts):
    """The diff for the anchors of a label."""

    label: str


@dataclass(frozen=True)
class GenerationDiff(PairCounts):
    """The diff of two generations of a corpus.

    Attributes:
        num_nearer: Pairs in both whose nearest mined negative is nearer in the newer one.
        num_farther: Pairs in both whose nearest mined negative is farther.
        old_d_an: Mean squared distance to that negative in the older one, over pairs in both; None if there are none.
        new_d_an: The same in the newer one.
        old: Number of the older generation.
        new: Number of the newer one.
        labels: By label of the anchor; largest share of changed pairs first, then most pairs, then by name.
    """

    num_nearer: int
    num_farther: int
    old_d_an: float | None
    new_d_an: float | None
    old: int
    new: int
    labels: tuple[LabelDiff, ...]


def diff_generations(old: OpenGeneration, new: OpenGeneration) -> GenerationDiff:
    """Compares two generations; memory stays bounded, whatever their size.

    Raises:
        InputError: They were mined from different corpora, or one was removed meanwhile.
        CorruptDataError: A part is not what was published.
        UnavailableError: Memory and temporary files do not suffice.
    """
    if old.manifest.corpus_fingerprint != new.manifest.corpus_fingerprint:
        raise InputError(
            f"generations {old.manifest.number} and {new.manifest.number} were mined from different corpora, where the "
            "same id may mean another example or another label: compare generations of one corpus"
        )
    with SqlSession.of(old, new) as session:
        statement = _STATEMENT.format(old=old.manifest.number, new=new.manifest.number)
        rows = session.run(["triplets", "corpus"], statement, {}).fetch()
    labels = [LabelDiff(*row[:6]) for row in rows]
    labels.sort(key=lambda label: (-label.changed_share, -label.num_pairs, label.label))
    values: list[Any] = [sum(row[column] for row in rows) for column in (0, 1, 2, 3, 4, 6, 7)]
    num_in_both = values[1] + values[2]
    values += [sum(row[column] for row in rows) / num_in_both if num_in_both else None for column in (8, 9)]
    values += [old.manifest.number, new.manifest.number, tuple(labels)]
    return GenerationDiff(*values)
