"""triplets suspects: likely label errors, as a table, a list to edit or a page; and the way back into the corpus."""

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import add_generation, positive
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.inspection.generation import open_generation
from pipeline.inspection.labels.corrections import apply_corrections
from pipeline.inspection.labels.label_list import write_label_list
from pipeline.inspection.labels.suspect_page import PageOptions, write_suspect_page
from pipeline.inspection.labels.suspects import REASON, Suspect, corpus_to_correct, list_suspects
from pipeline.inspection.tables import text_table
from pipeline.progress import log

NUM_SHOWN = 20


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Lists suspects, or applies a list."""
    if flags.apply is not None:
        for name in ("generation", "number", "label", "csv", "page", "accept_above"):
            if getattr(flags, name) is not None:
                raise InputError(f"--apply takes a list as it is: leave --{name.replace('_', '-')} out")
        return _apply(config, flags.apply)
    if flags.accept_above is not None and flags.csv is None and flags.page is None:
        raise InputError("--accept-above fills in new labels: say with --csv or --page where")
    return _list(config, flags)


def _list(config: RunConfig, flags: argparse.Namespace) -> Answer:
    generation = open_generation(open_to_read(config), flags.generation)
    corpus = corpus_to_correct(generation)
    num_shown = NUM_SHOWN if flags.number is None else flags.number
    # A list is to be worked through, so it holds all suspects by default.
    found = list_suspects(generation, corpus, flags.number if flags.csv else num_shown, flags.label)
    shown = found.rows[:num_shown]
    title = f"generation {generation.manifest.number}, suspects of a wrong label: {found.num_found:,}"
    if found.num_corrected:
        title += f" (corrected since: {found.num_corrected:,})"
    num_audited = generation.manifest.quarantined.get(REASON, 0)
    if num_audited > len(found.ids):
        log(f"note: the audit found {num_audited:,}, and listed the {len(found.ids):,} most suspect of them")
    report = {
        "generation": generation.manifest.number,
        "corpus": corpus.manifest.number,
        "num_suspects": found.num_found,
        "num_corrected": found.num_corrected,
        "suspects": [asdict(suspect) for suspect in shown],
    }
    lines = []
    if flags.csv:
        num_accepted = write_label_list(flags.csv, found.rows, flags.accept_above)
        report["csv"] = {"file": str(flags.csv), "num_rows": len(found.rows), "num_accepted": num_accepted}
        lines.append(
            f"{flags.csv}: rows: {len(found.rows):,}, with a new label: {num_accepted:,}; fill in more, then --apply it"
        )
    if flags.page:
        options = PageOptions(num_shown, flags.accept_above, config.transform)
        num_cards = write_suspect_page(flags.page, generation, corpus, found, options)
        report["page"] = {"file": str(flags.page), "num_cards": num_cards}
        lines.append(f"{flags.page}: suspects: {num_cards:,}, each beside examples of both labels")
    return Answer(report, [_table(title, shown), *lines])


def _table(title: str, suspects: tuple[Suspect, ...]) -> Table:
    rows = (
        (
            f"{suspect.rank}",
            f"{suspect.example_id}",
            suspect.path,
            suspect.label,
            suspect.suggested_label,
            "" if suspect.score is None else f"{suspect.score:.4g}",
        )
        for suspect in suspects
    )
    columns = ("#", "example", "path", "label", "suggested label", "score")
    return text_table(title, columns, rows, right=("#", "example", "score"))


def _apply(config: RunConfig, file: Path) -> Answer:
    workspace = open_to_read(config)
    workspace.check_writable()
    applied = apply_corrections(workspace, file, config.seed, config.digest())
    changes, corpus = applied.changes, applied.corpus
    counts = (
        f"labels changed: {len(changes.label_of):,}, already so: {changes.num_unchanged:,}, rows without a new label: "
        f"{applied.num_blank:,}"
    )
    words = (
        f"corpus {corpus.number} is published ({counts}): the next jobs.mine uses it, what runs now keeps to corpus "
        f"{corpus.parent}"
        if applied.is_new
        else f"corpus {corpus.number} stands, nothing to do ({counts})"
    )
    report = {
        "published": applied.is_new,
        "corpus": corpus.number,
        "num_changed": len(changes.label_of),
        "num_unchanged": changes.num_unchanged,
        "num_blank": applied.num_blank,
        "num_to_test": changes.num_to_test,
        "num_to_training": changes.num_to_training,
        "new_labels": list(changes.new_labels),
    }
    return Answer(report, [words])


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    add_generation(parser)
    parser.add_argument(
        "--number",
        type=positive,
        metavar="N",
        help=f"so many, most suspect first (default {NUM_SHOWN}; in a list: all)",
    )
    parser.add_argument("--label", help="only of this label")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a list whose column new_label can be filled in")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page to judge them by eye")
    parser.add_argument(
        "--accept-above", type=float, metavar="SCORE", help="fill in the suggestion where the score is at least this"
    )
    parser.add_argument(
        "--apply", type=Path, metavar="FILE", help="publish the corpus anew with the new labels of a list"
    )


COMMAND = Command("likely label errors: list them, judge them by eye, correct them", run, add_flags)
