"""Writes the report into the workspace."""

from pathlib import Path

from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.inspection.report.page import render_report
from pipeline.storage.workspace import Workspace

NUM_GENERATIONS, TRIPLETS_PER_SHEET = 8, 48


def write_report(
    workspace: Workspace,
    config: RunConfig,
    num_generations: int = NUM_GENERATIONS,
    triplets_per_sheet: int = TRIPLETS_PER_SHEET,
    copy: Path | None = None,
) -> str:
    """Writes the run's report into the workspace; an older report is replaced.

    Args:
        workspace: Of the run.
        config: Seeds the random sheet of triplets.
        num_generations: The newest so many are compared.
        triplets_per_sheet: Triplets on a contact sheet.
        copy: A local file to which the page is written too.

    Returns:
        The report's path, or its URI.

    Raises:
        InputError: There is neither a generation nor a refusal to show, or the workspace or the copy cannot be written.
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
