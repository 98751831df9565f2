"""Triplets: look into what was mined, check it, export it, act on it. Nothing that was published is changed."""

from jobs.cli import Command, run_commands

COMMANDS: dict[str, Command] = {}

if __name__ == "__main__":
    run_commands(__doc__ or "", COMMANDS)
