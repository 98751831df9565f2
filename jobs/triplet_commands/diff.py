"""diff: what changed from one generation to another."""

import argparse
from dataclasses import asdict

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import positive
from pipeline.config import RunConfig
from pipeline.inspection.inspected import open_generation
from pipeline.inspection.summary.churn import Churn, churn
from pipeline.inspection.tables import text_table


def body(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Compares the two named generations."""
    workspace = open_to_read(config)
    found = churn(open_generation(workspace, flags.old), open_generation(workspace, flags.new))
    labels = [asdict(one) | {"changed_share": one.changed_share} for one in found.labels[: flags.number]]
    report = asdict(found) | {"changed_share": found.changed_share, "num_labels": len(found.labels), "labels": labels}
    columns = ("label", "changed", "pairs", "same", "other negatives", "entered", "left", "triplets kept")
    rows = [
        (
            one.label,
            f"{one.changed_share:.1%}",
            *(f"{num:,}" for num in (one.num_pairs, one.num_same, one.num_changed)),
            *(f"{num:,}" for num in (one.num_entered, one.num_left, one.num_kept)),
        )
        for one in found.labels[: flags.number]
    ]
    title = f"labels that changed most, {len(rows):,} of {len(found.labels):,}"
    return Answer(report, [*_lines(found), text_table(title, columns, rows, right=columns[1:])])


def _lines(found: Churn) -> list[str]:
    lines = [
        f"generation {found.old} -> {found.new}: {found.changed_share:.1%} of {found.num_pairs:,} pairs of anchor and "
        "positive changed",
        f"  in both: {found.num_same:,} with the same negatives, {found.num_changed:,} with others "
        f"({found.num_kept:,} triplets are the same)",
        f"  only in {found.new}: {found.num_entered:,}; only in {found.old}: {found.num_left:,}",
    ]
    if found.old_d_an is not None and found.new_d_an is not None:
        lines.append(
            f"  nearest negative of those in both: nearer for {found.num_nearer:,}, farther for {found.num_farther:,}, "
            f"mean d_an {found.old_d_an:.4f} -> {found.new_d_an:.4f}"
        )
    return lines


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("old", type=int, metavar="OLD", help="number of a generation")
    parser.add_argument("new", type=int, metavar="NEW", help="number of the one that it is compared with")
    parser.add_argument("--number", type=positive, default=20, metavar="N", help="labels to list (default: 20)")


COMMAND = Command("what entered, left, stayed and changed between two generations: diff OLD NEW", body, add_flags)
