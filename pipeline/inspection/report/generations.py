"""A run's newest generations side by side: distances, and diffs from each to the next."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.inspection.summary.diff import GenerationDiff, diff_generations
from pipeline.inspection.summary.statistics import GenerationStatistics, Histogram, collect_statistics
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest


@dataclass(frozen=True)
class GenerationOverview:
    """The manifest, the distances and the diff of a generation.

    Attributes:
        manifest: Its manifest.
        d_ap: Distances anchor to positive.
        d_an: Distances anchor to negative.
        margin: Their differences.
        diff: Against the generation before; None for the first, and where the corpus is another.
    """

    manifest: GenerationManifest
    d_ap: Histogram
    d_an: Histogram
    margin: Histogram
    diff: GenerationDiff | None

    @property
    def band_yield(self) -> float:
        """Share of the pairs that have a negative in their band; NaN where there are no pairs."""
        num_pairs = self.manifest.num_pairs
        return 1.0 - self.manifest.num_pairs_without_negative / num_pairs if num_pairs else float("nan")


@dataclass(frozen=True)
class RecentGenerations:
    """The newest generations of a run.

    Attributes:
        overviews: Of each of them, the newest last; at least one.
        newest: The newest, open.
        statistics: Of the newest.
        notes: Why the others could not be read.
    """

    overviews: Sequence[GenerationOverview]
    newest: OpenGeneration
    statistics: GenerationStatistics
    notes: Sequence[str]


def read_recent_generations(workspace: Workspace, num: int) -> RecentGenerations:
    """Reads the newest generations one by one; of all but the newest, memory keeps only counts.

    An older one whose corpus is gone is left out, and ``notes`` says so.

    Raises:
        InputError: There is none, or the newest one's corpus is gone.
        CorruptDataError: A part is not what was published.
    """
    newest = open_generation(workspace)
    overviews: list[GenerationOverview] = []
    notes: list[str] = []
    before: OpenGeneration | None = None
    older = [number for number in generations(workspace).numbers() if number < newest.manifest.number]
    for number in older[max(0, len(older) - (num - 1)) :]:
        try:
            generation = open_generation(workspace, number)
            overviews.append(_overview(generation, before, collect_statistics(generation)))
            before = generation
        except InputError as error:
            notes.append(str(error))
            before = None
    statistics = collect_statistics(newest)
    overviews.append(_overview(newest, before, statistics))
    return RecentGenerations(overviews, newest, statistics, notes)


def _overview(
    generation: OpenGeneration, before: OpenGeneration | None, statistics: GenerationStatistics
) -> GenerationOverview:
    manifest = generation.manifest
    comparable = before is not None and before.manifest.corpus_fingerprint == manifest.corpus_fingerprint
    diff = diff_generations(before, generation) if before is not None and comparable else None
    return GenerationOverview(manifest, statistics.d_ap, statistics.d_an, statistics.margin, diff)
