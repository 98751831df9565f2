"""diff: what changed from one generation to another."""

import argparse
from dataclasses import asdict

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import positive
from pipeline.config import RunConfig
from pipeline.inspection.generation import open_generation
from pipeline.inspection.summary.diff import GenerationDiff, diff_generations
from pipeline.inspection.tables import text_table


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Compares the two named generations."""
    workspace = open_to_read(config)
    diff = diff_generations(open_generation(workspace, flags.old), open_generation(workspace, flags.new))
    labels = [asdict(label) | {"changed_share": label.changed_share} for label in diff.labels[: flags.number]]
    report = asdict(diff) | {"changed_share": diff.changed_share, "num_labels": len(diff.labels), "labels": labels}
    columns = ("label", "changed", "pairs", "same", "other negatives", "entered", "left", "triplets kept")
    rows = [
        (
            label.label,
            f"{label.changed_share:.1%}",
            *(f"{num:,}" for num in (label.num_pairs, label.num_same, label.num_changed)),
            *(f"{num:,}" for num in (label.num_entered, label.num_left, label.num_kept)),
        )
        for label in diff.labels[: flags.number]
    ]
    title = f"labels that changed most, {len(rows):,} of {len(diff.labels):,}"
    return Answer(report, [*_lines(diff), text_table(title, columns, rows, right=columns[1:])])


def _lines(diff: GenerationDiff) -> list[str]:
    lines = [
        f"generation {diff.old} -> {diff.new}: {diff.changed_share:.1%} of {diff.num_pairs:,} pairs of anchor and "
        "positive changed",
        f"  in both: {diff.num_same:,} with the same negatives, {diff.num_changed:,} with others "
        f"({diff.num_kept:,} triplets are the same)",
        f"  only in {diff.new}: {diff.num_entered:,}; only in {diff.old}: {diff.num_left:,}",
    ]
    if diff.old_d_an is not None and diff.new_d_an is not None:
        lines.append(
            f"  nearest negative of those in both: nearer for {diff.num_nearer:,}, farther for {diff.num_farther:,}, "
            f"mean d_an {diff.old_d_an:.4f} -> {diff.new_d_an:.4f}"
        )
    return lines


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("old", type=int, metavar="OLD", help="number of a generation")
    parser.add_argument("new", type=int, metavar="NEW", help="number of the one that it is compared with")
    parser.add_argument("--number", type=positive, default=20, metavar="N", help="labels to list (default: 20)")


COMMAND = Command("what entered, left, stayed and changed between two generations: diff OLD NEW", run, add_flags)
