"""The report's page: gathers the data of a run, renders them as an HTML document, and writes it into the workspace."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.encoders.checkpoints import CheckpointManifest
from pipeline.errors import InputError
from pipeline.inspection.generation import open_generation
from pipeline.inspection.report.document import render_page
from pipeline.inspection.report.examples import read_examples
from pipeline.inspection.report.figures import distance_charts, generation_charts, training_charts
from pipeline.inspection.report.generations import RecentGenerations, read_recent_generations
from pipeline.inspection.report.history import TrainingHistory, read_evaluations, read_training, refusals_since
from pipeline.inspection.report.key_figures import key_figures
from pipeline.inspection.report.provenance import collect_provenance
from pipeline.inspection.report.sheets import example_ids, quarantine_groups, triplet_sheets
from pipeline.storage.publish import library_versions
from pipeline.storage.workspace import Workspace
from pipeline.triplets.quarantine import REASONS
from pipeline.triplets.reader import generations

MAX_BYTES = 15_000_000
THUMBNAIL_CHARS = 9_000_000
"""Of all thumbnails of a page together; MAX_TRIPLETS_PER_SHEET and MAX_TEXT of document.py bound the rest."""
NUM_GENERATIONS, TRIPLETS_PER_SHEET = 8, 48
MAX_GENERATIONS, MAX_TRIPLETS_PER_SHEET = 64, 200
NUM_HUBS, NUM_DIFF_LABELS, NUM_REFUSALS, NUM_FIGURES = 24, 8, 5, 24


def write_report(
    workspace: Workspace,
    config: RunConfig,
    num_generations: int = NUM_GENERATIONS,
    triplets_per_sheet: int = TRIPLETS_PER_SHEET,
    copy: Path | None = None,
) -> str:
    """Writes the run's report into the workspace, where it replaces an older one, and to a local file, ``copy``.

    See `render_report` for what is written.

    Returns:
        The report's path, or its URI.

    Raises:
        InputError: As `render_report` has it; or the workspace or the copy cannot be written.
        CorruptDataError: Something stored is not what was published.
    """
    page = render_report(workspace, config, num_generations, triplets_per_sheet)
    if copy is not None:
        try:
            copy.write_bytes(page)
        except OSError as error:
            raise InputError(
                f"the report cannot be written to {copy} ({error.strerror or error}): name another --out"
            ) from error
    workspace.store.put(workspace.report_key, page)
    path = workspace.store.local_path(workspace.report_key)
    return str(path) if path is not None else workspace.uri_of(workspace.report_key)


def render_report(workspace: Workspace, config: RunConfig, num_generations: int, triplets_per_sheet: int) -> bytes:
    """The run's report as self-contained UTF-8 HTML of less than MAX_BYTES.

    Args:
        workspace: Of the run.
        config: Seeds the random sheet; its transform is used where the checkpoint is gone.
        num_generations: The newest so many are compared, at most MAX_GENERATIONS.
        triplets_per_sheet: At most MAX_TRIPLETS_PER_SHEET; of the quarantine, each reason shows half as many entries.

    Raises:
        InputError: There is neither a generation nor a refusal, or the newest generation's corpus is gone.
        CorruptDataError: Something stored is not what was published.
    """
    recent = read_recent_generations(workspace, num_generations) if generations(workspace).numbers() else None
    refusals = refusals_since(workspace, recent.newest.manifest if recent else None)
    if recent is None and not refusals:
        open_generation(workspace)  # raises an error that says what to do
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
        "provenance": collect_provenance(workspace, recent, training),
        "versions": library_versions(),
    }
    if recent is not None:
        context |= _generation_context(recent, training, evaluations, config, triplets_per_sheet)
    return render_page(context)


def _generation_context(
    recent: RecentGenerations,
    training: TrainingHistory,
    evaluations: Mapping[int, Mapping[str, float]],
    config: RunConfig,
    triplets_per_sheet: int,
) -> dict[str, Any]:
    """The template's variables about generations."""
    newest = recent.newest
    checkpoint = _checkpoint(recent)
    transform = checkpoint.transform if checkpoint is not None else config.transform
    sheets = triplet_sheets(newest, recent.statistics, triplets_per_sheet, config.seed)
    groups = quarantine_groups(newest, -(-triplets_per_sheet // 2))
    hubs = recent.statistics.hubs(NUM_HUBS)
    shown = list(example_ids(sheets, groups, hubs))
    num_dims = checkpoint.encoder.embedding_dim if checkpoint is not None else None
    distances = [distance for sheet in sheets for row in sheet.rows for distance in (row.d_ap, row.d_an)]
    empty_reasons = set(newest.manifest.quarantined) - {group.reason for group in groups}
    num_negatives = int((recent.statistics.negative_counts_N > 0).sum())
    return {
        "manifest": newest.manifest,
        "corpus": newest.corpus.manifest,
        "has_pictures": newest.corpus.payload.viewer is not None,
        "has_checkpoint": checkpoint is not None,
        "key_figures": key_figures(recent, training, evaluations, num_dims),
        "overviews": recent.overviews,
        "notes": recent.notes,
        "distance_charts": distance_charts(recent.overviews),
        "generation_charts": generation_charts(recent.overviews),
        "diff": recent.overviews[-1].diff,
        "num_diff_labels": NUM_DIFF_LABELS,
        "sheets": sheets,
        "most_distance": max(distances, default=1.0) or 1.0,
        "quarantine_groups": groups,
        "none_found": {reason: known.words for reason, known in REASONS.items() if reason in empty_reasons},
        "hubs": hubs,
        "mean_negatives": recent.statistics.num_triplets / max(1, num_negatives),
        "examples": read_examples(newest.corpus, shown, transform, THUMBNAIL_CHARS),
    }


def _checkpoint(recent: RecentGenerations) -> CheckpointManifest | None:
    try:
        return recent.newest.checkpoint
    except InputError:  # the page says that it is gone
        return None
