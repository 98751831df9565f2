"""Prune: keep the newest generations and checkpoints of every run and what is in use, and make room of the rest.

What is not kept retires at once: nobody finds it any more. Its parts are deleted by the first prune after
retention.grace_s, so run it on a schedule. It may run beside all other jobs, be killed, and run again.
"""

import argparse

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from jobs.cli import Answer, run_job
from pipeline.config import RunConfig
from pipeline.progress import say
from pipeline.retention.prune import Pruned, prune
from pipeline.storage.workspace import Workspace


def body(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Prunes, or says what it would do."""
    workspace = Workspace.open(config.workspace, config.run)
    if not flags.dry_run:
        workspace.check_writable()
    pruned = prune(workspace, config.retention, flags.dry_run)
    verb = "would free" if flags.dry_run else "freed"
    say(f"{verb} {decimal(pruned.freed_bytes)} now, and {decimal(pruned.later_bytes)} after the grace period")
    return Answer(pruned.report(), [_table(pruned)] if pruned.plan.retirements or pruned.plan.removals else [])


def _table(pruned: Pruned) -> Table:
    table = Table("what", "objects", "size", "when")
    for one in pruned.plan.removals:
        table.add_row(Text(one.what), str(len(one.entries)), decimal(one.num_bytes), "now")
    for retired in pruned.plan.retirements:
        what = f"{retired.dataset.prefix} {retired.number}: retires"
        table.add_row(Text(what), "", decimal(retired.num_bytes), "after the grace period")
    return table


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")


if __name__ == "__main__":
    run_job(__doc__ or "", body, add_flags)
