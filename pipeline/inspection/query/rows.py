"""Queries for some triplets of a generation: by their margin, their labels, their examples, or at random."""

import bisect
import difflib
from dataclasses import dataclass
from typing import Literal

from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.sql import SqlSession

Order = Literal["hardest", "easiest", "closest", "random", "anchor"]
Kind = Literal["hard", "semi_hard", "easy"]

ROLES = ("anchor", "positive", "negative")
_IDS = ", ".join(ROLES)
# A digest orders the same triplets in the same way on every machine and under every version of DuckDB.
_ORDERS: dict[Order, str] = {
    "hardest": f"margin, {_IDS}",
    "easiest": f"margin DESC, {_IDS}",
    "closest": f"d_an, {_IDS}",
    "random": f"md5_number(concat_ws(' ', $seed, {_IDS})), {_IDS}",
    "anchor": f"anchor, positive, d_an, {_IDS}",
}
ORDERS = tuple(_ORDERS)


@dataclass(frozen=True)
class TripletRow:
    """A triplet with its labels.

    Attributes:
        anchor: Example id.
        positive: Example id.
        negative: Example id.
        d_ap: Squared L2 distance of anchor and positive, in [0, 4].
        d_an: The same of anchor and negative.
        kind: hard, semi_hard or easy, for the margin of the generation's band.
        label: Of anchor and positive.
        negative_label: Of the negative.
    """

    anchor: int
    positive: int
    negative: int
    d_ap: float
    d_an: float
    kind: str
    label: str
    negative_label: str

    @property
    def margin(self) -> float:
        """d_an - d_ap; below 0, the negative is nearer than the positive."""
        return self.d_an - self.d_ap


@dataclass(frozen=True)
class TripletQuery:
    """Filters, an order and a limit of triplets; a filter that is None lets all pass.

    Attributes:
        order: hardest (smallest margin first), easiest, closest (smallest d_an first), random (uniform; the same for
            the same seed), anchor.
        kind: Of this kind only.
        label: With an anchor of this label.
        anchor: With this example as the anchor.
        positive: With this example as the positive.
        negative: With this example as the negative.
        example: With this example in any role.
        seed: Of the order random.
        limit: At most so many; None: all.
    """

    order: Order = "hardest"
    kind: Kind | None = None
    label: str | None = None
    anchor: int | None = None
    positive: int | None = None
    negative: int | None = None
    example: int | None = None
    seed: int = 0
    limit: int | None = None

    def check(self, corpus: Corpus) -> None:
        """Makes sure that the label and the examples of the filters are in the corpus.

        Raises:
            InputError: The corpus has no such label or example.
        """
        if self.label is not None:
            index = bisect.bisect_left(corpus.label_names, self.label)
            following = corpus.label_names[index : index + 1]  # names are sorted: one with this prefix is here
            if following != [self.label]:
                similar = [name for name in following if self.label and name.startswith(self.label)]
                similar = similar or difflib.get_close_matches(self.label, corpus.label_names, n=1)
                hint = f": did you mean {similar[0]!r}?" if similar else ""
                raise InputError(f"corpus {corpus.manifest.number} has no label {self.label!r}{hint}")
        for role in (*ROLES, "example"):
            example_id = getattr(self, role)
            if example_id is not None and not 0 <= example_id < corpus.num_examples:
                raise InputError(
                    f"corpus {corpus.manifest.number} has no example {example_id}: its ids are 0 to "
                    f"{corpus.num_examples - 1}"
                )

    def where(self) -> tuple[str, dict[str, object]]:
        """The filters as a clause over the view ``triplets``, and the parameters that it names."""
        columns = {name: getattr(self, name) for name in ("kind", "label", *ROLES)}
        parameters: dict[str, object] = {name: value for name, value in columns.items() if value is not None}
        conditions = [f"{name} = ${name}" for name in parameters]
        if self.example is not None:
            parameters["example"] = self.example
            conditions.append(f"$example IN ({_IDS})")
        return f"WHERE {' AND '.join(conditions) or 'true'}", parameters

    def clauses(self) -> tuple[str, dict[str, object]]:
        """The filters, the order and the limit."""
        where, parameters = self.where()
        if self.order == "random":
            parameters["seed"] = self.seed
        if self.limit is not None:
            parameters["limit"] = self.limit
        limit = "" if self.limit is None else " LIMIT $limit"
        return f"{where} ORDER BY {_ORDERS[self.order]}{limit}", parameters


def select_rows(generation: OpenGeneration, query: TripletQuery, session: SqlSession | None = None) -> list[TripletRow]:
    """The triplets of a query.

    Args:
        generation: The generation.
        query: Filters, order and limit.
        session: Over this generation alone, for several queries: opening a session verifies all shards.

    Raises:
        InputError: The corpus has no such label or example; the generation was removed meanwhile.
        CorruptDataError: A part is not what was published.
        UnavailableError: Memory and temporary files do not suffice.
    """
    query.check(generation.corpus)
    if session is None:
        with SqlSession.of(generation) as new_session:
            return select_rows(generation, query, new_session)
    clauses, parameters = query.clauses()
    statement = f"SELECT {_IDS}, d_ap, d_an, kind, label, negative_label FROM triplets {clauses}"
    return [TripletRow(*row) for row in session.run(["triplets"], statement, parameters).fetch()]


def empty_result_reason(generation: OpenGeneration, query: TripletQuery) -> str:
    """Why a query may find no triplet, in a sentence."""
    corpus = generation.corpus
    if query.label is not None and corpus.split.is_test(query.label):
        return f"label {query.label!r} is kept for evaluation: it is never mined"
    for example_id in (getattr(query, name) for name in (*ROLES, "example")):
        if example_id is not None and corpus.is_test[example_id]:
            return f"example {example_id} is kept for evaluation: it is never mined"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in generation.manifest.kinds.items())
    return f"the generation holds {kinds}: choose less narrowly"
