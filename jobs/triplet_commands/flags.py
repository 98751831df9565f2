"""Flags that several commands have."""

import argparse


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Which generation to look into."""
    parser.add_argument("--generation", type=int, metavar="N", help="which one (default: the newest)")
