"""The page: everything that is known of a run, gathered and written as one HTML document."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import InputError
from pipeline.inspection.inspected import open_generation
from pipeline.inspection.report.document import fill
from pipeline.inspection.report.examples import read_examples
from pipeline.inspection.report.figures import distance_charts, generation_charts, training_charts
from pipeline.inspection.report.generations import Lineage, read_lineage
from pipeline.inspection.report.history import Training, read_evaluations, read_training, standing_refusals
from pipeline.inspection.report.provenance import provenance
from pipeline.inspection.report.sheets import example_ids, quarantined, triplet_sheets
from pipeline.inspection.report.tiles import tiles
from pipeline.storage.publish import library_versions
from pipeline.storage.workspace import Workspace
from pipeline.triplets.quarantine import REASONS
from pipeline.triplets.reader import generations

MAX_BYTES = 15_000_000
PICTURE_CHARS = 9_000_000
"""What all pictures of a page may come to; the rest is bounded by MAX_PICTURES, and MAX_TEXT of document.py."""
MAX_PICTURE_CHARS = 20_000
MAX_PICTURES, MAX_GENERATIONS = 200, 64
NUM_HUBS, NUM_CHURN_LABELS, NUM_REFUSALS, NUM_FIGURES = 24, 8, 5, 24


def render(workspace: Workspace, config: RunConfig, num_generations: int, num_pictures: int) -> bytes:
    """The run's report as UTF-8 HTML of less than MAX_BYTES, complete in itself.

    Args:
        workspace: Of the run.
        config: Seeds the random draw; its transform stands in where the checkpoint is gone.
        num_generations: The newest so many are compared, at most MAX_GENERATIONS.
        num_pictures: Triplets a contact sheet, at most MAX_PICTURES; half as many entries of the quarantine a reason.

    Raises:
        InputError: There is neither a generation nor a refusal, or the newest generation's corpus is gone.
        CorruptDataError: Something stored is not what was published.
    """
    lineage = read_lineage(workspace, num_generations) if generations(workspace).numbers() else None
    refusals = standing_refusals(workspace, lineage.newest.manifest if lineage else None)
    if lineage is None and not refusals:
        open_generation(workspace)  # raises, and says what to do
    training, evaluations = read_training(workspace), read_evaluations(workspace)
    context: dict[str, Any] = {
        "run": workspace.run,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "refusals": refusals[:NUM_REFUSALS],
        "num_refusals": len(refusals),
        "num_figures": NUM_FIGURES,
        "training_charts": training_charts(training, evaluations),
        "training": training,
        "manifest": None,
        "provenance": provenance(workspace, lineage, training),
        "versions": library_versions(),
    }
    if lineage is not None:
        context |= _of_generation(lineage, training, evaluations, config, num_pictures)
    return fill(context)


def _of_generation(
    lineage: Lineage,
    training: Training,
    evaluations: Mapping[int, Mapping[str, float]],
    config: RunConfig,
    num_pictures: int,
) -> dict[str, Any]:
    """What the page says of generations."""
    newest = lineage.newest
    checkpoint = _checkpoint(lineage)
    transform = checkpoint.transform if checkpoint is not None else config.transform
    sheets = triplet_sheets(newest, lineage.survey, num_pictures, config.seed)
    groups = quarantined(newest, -(-num_pictures // 2))
    hubs = lineage.survey.hubs(NUM_HUBS)
    shown = list(example_ids(sheets, groups, hubs))
    # Pictures stand in the page as often as they are shown, so each gets its share of what the page may hold.
    max_chars = min(MAX_PICTURE_CHARS, PICTURE_CHARS // max(1, len(shown)))
    num_dims = checkpoint.encoder.embedding_dim if checkpoint is not None else None
    distances = [distance for sheet in sheets for row in sheet.rows for distance in (row.d_ap, row.d_an)]
    found, looked_for = {group.reason for group in groups}, set(newest.manifest.quarantined)
    return {
        "manifest": newest.manifest,
        "corpus": newest.corpus.manifest,
        "has_pictures": newest.corpus.payload.viewer is not None,
        "has_checkpoint": checkpoint is not None,
        "tiles": tiles(lineage, training, evaluations, num_dims),
        "seen": lineage.seen,
        "notes": lineage.notes,
        "distance_charts": distance_charts(lineage.seen),
        "generation_charts": generation_charts(lineage.seen),
        "churn": lineage.seen[-1].churn,
        "num_churn_labels": NUM_CHURN_LABELS,
        "sheets": sheets,
        "most_distance": max(distances, default=1.0) or 1.0,
        "quarantined": groups,
        "none_found": {reason: known.words for reason, known in REASONS.items() if reason in looked_for - found},
        "hubs": hubs,
        "mean_negatives": lineage.survey.num_triplets / max(1, int((lineage.survey.negative_counts_N > 0).sum())),
        "examples": read_examples(newest.corpus, shown, transform, max_chars),
    }


def _checkpoint(lineage: Lineage) -> CheckpointManifest | None:
    try:
        return lineage.newest.checkpoint
    except InputError:  # the page says that it is gone
        return None
