"""Triplets: look into what was mined, check it, export it, act on it. Nothing that was published is changed."""

from jobs.cli import Command, run_commands
from jobs.triplet_commands import diff, export, report, show, sql, summary, suspects, verify

COMMANDS: dict[str, Command] = {
    "diff": diff.COMMAND,
    "export": export.COMMAND,
    "report": report.COMMAND,
    "show": show.COMMAND,
    "sql": sql.COMMAND,
    "summary": summary.COMMAND,
    "suspects": suspects.COMMAND,
    "verify": verify.COMMAND,
}

if __name__ == "__main__":
    run_commands(__doc__ or "", COMMANDS)
