"""Runs a command of jobs.triplets as a function, where a test looks at its answer."""

import argparse
from types import ModuleType

from rich.console import Console

from jobs.cli import Answer
from pipeline.config import RunConfig


def answer_of(command: ModuleType, config: RunConfig, *arguments: object) -> Answer:
    """What a command answers to these flags."""
    parser = argparse.ArgumentParser()
    command.add_flags(parser)
    answer: Answer = command.run(config, parser.parse_args([*map(str, arguments)]))
    return answer


def printed(answer: Answer) -> str:
    """What a person sees, as jobs.cli prints it."""
    console = Console(width=200, highlight=False, no_color=True)
    with console.capture() as capture:
        for shown in answer.shown:
            console.print(shown, markup=False)
    return capture.get()
