"""Puts the report where people find it."""

from pathlib import Path

from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.inspection.report.page import render
from pipeline.storage.workspace import Workspace

NUM_GENERATIONS, NUM_PICTURES = 8, 48


def write_report(
    workspace: Workspace,
    config: RunConfig,
    num_generations: int = NUM_GENERATIONS,
    num_pictures: int = NUM_PICTURES,
    copy: Path | None = None,
) -> str:
    """Writes the run's report into the workspace, in place of an older one.

    Args:
        workspace: Of the run.
        config: Seeds the random draw of triplets.
        num_generations: The newest so many are compared.
        num_pictures: Triplets a contact sheet.
        copy: A file of this machine that gets the page too.

    Returns:
        Where it is: a path, or a URI.

    Raises:
        InputError: There is neither a generation nor a refusal to show, or the workspace or the copy cannot be written.
        CorruptDataError: Something stored is not what was published.
    """
    page = render(workspace, config, num_generations, num_pictures)
    if copy is not None:
        try:
            copy.write_bytes(page)
        except OSError as error:
            raise InputError(
                f"the report cannot be written to {copy} ({error.strerror or error}): name another --out"
            ) from error
    workspace.store.put(workspace.report_key, page)
    path = workspace.store.local_path(workspace.report_key)
    return str(path) if path is not None else f"{workspace.store.uri.rstrip('/')}/{workspace.report_key}"
