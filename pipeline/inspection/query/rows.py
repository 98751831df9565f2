"""Some triplets of a generation, chosen by their margin, their labels, their examples, or by chance."""

import bisect
import difflib
from dataclasses import dataclass
from typing import Literal

from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.inspection.inspected import Inspected
from pipeline.inspection.query.sql import Session

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
    """A triplet as it is shown.

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
class Choice:
    """Which triplets, in which order; None of a filter is all.

    Attributes:
        order: hardest (smallest margin first), easiest, closest (smallest d_an first), random (uniform; the same for
            the same seed), anchor.
        kind: Of this kind only.
        label: Whose anchor has this label.
        anchor: With this example as the anchor.
        positive: With this example as the positive.
        negative: With this example as the negative.
        example: With this example in any role.
        seed: Of the order random.
    """

    order: Order = "hardest"
    kind: Kind | None = None
    label: str | None = None
    anchor: int | None = None
    positive: int | None = None
    negative: int | None = None
    example: int | None = None
    seed: int = 0

    def check(self, corpus: Corpus) -> None:
        """Makes sure that what is named is in the corpus.

        Raises:
            InputError: It has no such label or example.
        """
        if self.label is not None:
            place = bisect.bisect_left(corpus.label_names, self.label)
            if corpus.label_names[place : place + 1] != [self.label]:
                begun = corpus.label_names[place : place + 1]  # names are sorted: what begins so stands here
                near = [name for name in begun if self.label and name.startswith(self.label)]
                near = near or difflib.get_close_matches(self.label, corpus.label_names, n=1)
                hint = f": did you mean {near[0]!r}?" if near else ""
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
        wanted = [f"{name} = ${name}" for name in parameters]
        if self.example is not None:
            parameters["example"] = self.example
            wanted.append(f"$example IN ({_IDS})")
        return f"WHERE {' AND '.join(wanted) or 'true'}", parameters

    def clauses(self) -> tuple[str, dict[str, object]]:
        """The filters and the order."""
        where, parameters = self.where()
        seed = {"seed": self.seed} if self.order == "random" else {}
        return f"{where} ORDER BY {_ORDERS[self.order]}", parameters | seed


def select_rows(inspected: Inspected, choice: Choice, num: int, session: Session | None = None) -> list[TripletRow]:
    """The first ``num`` triplets of a choice.

    Args:
        inspected: The generation.
        choice: Which, in which order.
        num: At most so many.
        session: One over this generation alone, where several choices are made: opening one verifies all shards.

    Raises:
        InputError: The corpus has not what the choice names; the generation was removed meanwhile.
        CorruptDataError: A part is not what was published.
        UnavailableError: Memory and temporary files do not suffice.
    """
    choice.check(inspected.corpus)
    if session is None:
        with Session.of(inspected) as own:
            return select_rows(inspected, choice, num, own)
    clauses, parameters = choice.clauses()
    rows = session.run(
        ["triplets"],
        f"SELECT {_IDS}, d_ap, d_an, kind, label, negative_label FROM triplets {clauses} LIMIT $num",
        parameters | {"num": num},
    )
    return [TripletRow(*row) for row in rows.fetch()]


def why_none(inspected: Inspected, choice: Choice) -> str:
    """Why a generation may hold no triplet of a choice, in a sentence."""
    corpus = inspected.corpus
    if choice.label is not None and corpus.split.is_test(choice.label):
        return f"label {choice.label!r} is kept for evaluation: it is never mined"
    named = [getattr(choice, name) for name in (*ROLES, "example")]
    for example_id in (one for one in named if one is not None):
        if corpus.is_test[example_id]:
            return f"example {example_id} is kept for evaluation: it is never mined"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in inspected.manifest.kinds.items())
    return f"the generation holds {kinds}: choose less narrowly"


def hardest(
    inspected: Inspected, num: int, label: str | None = None, session: Session | None = None
) -> list[TripletRow]:
    """The ``num`` triplets of smallest margin, ties by id; see ``select_rows``."""
    return select_rows(inspected, Choice("hardest", label=label), num, session)


def drawn(
    inspected: Inspected, num: int, seed: int, label: str | None = None, session: Session | None = None
) -> list[TripletRow]:
    """``num`` triplets drawn uniformly, the same for the same seed; see ``select_rows``."""
    return select_rows(inspected, Choice("random", label=label, seed=seed), num, session)
