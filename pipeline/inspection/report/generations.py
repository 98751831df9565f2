"""A run's newest generations beside each other: distances, and what changed from one to the next."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.inspection.inspected import Inspected, open_generation
from pipeline.inspection.summary.churn import Churn, churn
from pipeline.inspection.summary.survey import Histogram, Survey, survey
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest


@dataclass(frozen=True)
class Seen:
    """One generation as a whole.

    Attributes:
        manifest: Its manifest.
        d_ap: Distances anchor to positive.
        d_an: Distances anchor to negative.
        margin: Their differences.
        churn: What changed since the generation before; None for the first, and where the corpus is another.
    """

    manifest: GenerationManifest
    d_ap: Histogram
    d_an: Histogram
    margin: Histogram
    churn: Churn | None

    @property
    def band_yield(self) -> float:
        """Share of the pairs that have a negative in their band; NaN where there are no pairs."""
        num_pairs = self.manifest.num_pairs
        return 1.0 - self.manifest.num_pairs_without_negative / num_pairs if num_pairs else float("nan")


@dataclass(frozen=True)
class Lineage:
    """The newest generations of a run.

    Attributes:
        seen: Each of them, the newest last; at least one.
        newest: The newest, open.
        survey: Of the newest.
        notes: Of those that could not be read: why.
    """

    seen: Sequence[Seen]
    newest: Inspected
    survey: Survey
    notes: Sequence[str]


def read_lineage(workspace: Workspace, num: int) -> Lineage:
    """Reads the newest generations, one after the other; of all but the newest, only counts are kept.

    An older one may have lost its corpus; it is left out, and ``notes`` says so.

    Raises:
        InputError: There is none, or the newest one's corpus is gone.
        CorruptDataError: A part is not what was published.
    """
    newest = open_generation(workspace)
    seen: list[Seen] = []
    notes: list[str] = []
    before: Inspected | None = None
    older = [number for number in generations(workspace).numbers() if number < newest.manifest.number]
    for number in older[max(0, len(older) - (num - 1)) :]:
        try:
            one = open_generation(workspace, number)
            seen.append(_see(one, before, survey(one)))
            before = one
        except InputError as error:
            notes.append(str(error))
            before = None
    of_newest = survey(newest)
    seen.append(_see(newest, before, of_newest))
    return Lineage(seen, newest, of_newest, notes)


def _see(one: Inspected, before: Inspected | None, found: Survey) -> Seen:
    comparable = before is not None and before.manifest.corpus_fingerprint == one.manifest.corpus_fingerprint
    changed = churn(before, one) if before is not None and comparable else None
    return Seen(one.manifest, found.d_ap, found.d_an, found.margin, changed)
