"""Prune: keep the newest generations and checkpoints of every run and what is in use, and delete the rest.

What is not kept gets a tombstone at once: no job finds it any more. Its parts are deleted by the first prune after
retention.grace_s, so run it on a schedule. It may run beside all other jobs, be killed, and run again.
"""

import argparse

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from jobs.cli import Answer, run_job
from pipeline.config import RunConfig
from pipeline.progress import log
from pipeline.retention.prune import prune
from pipeline.retention.sweep import Sweep
from pipeline.storage.workspace import Workspace


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Prunes, or says what it would do."""
    workspace = Workspace.open(config.workspace, config.run)
    if not flags.dry_run:
        workspace.check_writable()
    result = prune(workspace, config.retention, flags.dry_run)
    verb = "would free" if flags.dry_run else "freed"
    log(f"{verb} {decimal(result.freed_bytes)} now, and {decimal(result.later_bytes)} after the grace period")
    return Answer(result.report(), [_table(result.sweep)] if result.sweep.dead_versions or result.sweep.garbage else [])


def _table(sweep: Sweep) -> Table:
    table = Table("what", "objects", "size", "deleted")
    for garbage in sweep.garbage:
        table.add_row(Text(garbage.description), str(len(garbage.entries)), decimal(garbage.num_bytes), "now")
    for version in sweep.dead_versions:
        text = Text(f"{version.dataset.prefix} {version.number}: gets a tombstone")
        table.add_row(text, "", decimal(version.num_bytes), "after the grace period")
    return table


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted, and change nothing")


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
