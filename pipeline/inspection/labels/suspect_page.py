"""An HTML page to judge suspects by eye: each beside examples of its own label and of the suggested label."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.config import TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.labels.label_list import COLUMNS
from pipeline.inspection.labels.suspects import Suspect, SuspectList
from pipeline.inspection.report.document import render_page
from pipeline.inspection.report.examples import PageExample, read_examples
from pipeline.progress import log

NUM_COMPARED = 3
MAX_CARDS = 400
MAX_BYTES = 15_000_000
THUMBNAIL_CHARS = 10_000_000
"""Of all thumbnails of a page together."""


@dataclass(frozen=True)
class SuspectCard:
    """A suspect beside examples of its label and of the suggested one; the answer to begin with may be empty."""

    suspect: Suspect
    example: PageExample
    own: Sequence[PageExample]
    suggested: Sequence[PageExample]
    new_label: str


@dataclass(frozen=True)
class PageOptions:
    """How a page shows suspects.

    Attributes:
        num: The first so many are shown, at most MAX_CARDS.
        accept_above: Fill in the suggestion where the score is at least this; None: nowhere.
        transform: Crops the images where the checkpoint, which has the encoder's own transform, is gone.
    """

    num: int
    accept_above: float | None
    transform: TransformConfig


def write_suspect_page(
    file: Path, generation: OpenGeneration, corpus: Corpus, suspects: SuspectList, options: PageOptions
) -> int:
    """Writes the page: one HTML file that loads nothing, from which a list can be saved.

    Args:
        file: To be written; an older one is replaced.
        generation: The generation.
        corpus: Of the labels.
        suspects: Of this corpus.
        options: How they are shown.

    Returns:
        How many are shown.

    Raises:
        InputError: The corpus holds nothing to look at, the page would be too large, or the file cannot be written.
    """
    if corpus.payload.viewer is None:
        raise InputError(
            f"the corpus holds {corpus.payload.plural}, which are nothing to look at: leave --page out, and use --csv"
        )
    if options.num > MAX_CARDS:
        raise InputError(f"a page shows at most {MAX_CARDS} suspects: give --number {MAX_CARDS} or fewer, or use --csv")
    try:
        options = replace(options, transform=generation.checkpoint.transform)
    except InputError:
        log(f"note: checkpoint {generation.manifest.checkpoint_step} is gone: pictures are cut as the config says")
    cards = _cards(corpus, suspects, options)
    page = render_page(
        {
            "place": shlex.join(["--workspace", generation.workspace.store.uri, "--run", generation.workspace.run]),
            "run": generation.workspace.run,
            "generation": generation.manifest.number,
            "corpus": corpus.manifest.number,
            "cards": cards,
            "num_found": suspects.num_found,
            "columns": COLUMNS,
        },
        "suspects",
    )
    if len(page) >= MAX_BYTES:
        raise InputError(
            f"the page would have {len(page) / 1e6:.0f} MB: give --number {max(1, len(cards) // 2)} or fewer"
        )
    try:
        file.write_bytes(page)
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror}): name another file") from None
    return len(cards)


def _cards(corpus: Corpus, suspects: SuspectList, options: PageOptions) -> list[SuspectCard]:
    rows = suspects.rows[: options.num]
    compared = [
        [_compared_ids(corpus, label, suspects, suspect) for label in (suspect.label, suspect.suggested_label)]
        for suspect in rows
    ]
    ids = [suspect.example_id for suspect in rows] + [example for pair in compared for ids in pair for example in ids]
    examples = read_examples(corpus, ids, options.transform, THUMBNAIL_CHARS)
    return [
        SuspectCard(
            suspect,
            examples[suspect.example_id],
            [examples[example_id] for example_id in own],
            [examples[example_id] for example_id in suggested],
            suspect.accepted_label(options.accept_above),
        )
        for suspect, (own, suggested) in zip(rows, compared, strict=True)
    ]


def _compared_ids(corpus: Corpus, label: str, suspects: SuspectList, suspect: Suspect) -> list[int]:
    """Ids of a label's examples, spread over all of them; of suspects only where there are no others."""
    code = np.searchsorted(np.asarray(corpus.label_names, dtype=object), label)
    if code == len(corpus.label_names) or corpus.label_names[code] != label:
        return []
    ids = np.flatnonzero(corpus.labels == code)
    ids = ids[ids != suspect.example_id]
    trusted = np.setdiff1d(ids, suspects.ids)
    ids = trusted if len(trusted) else ids
    spread = np.unique(np.linspace(0, len(ids) - 1, min(NUM_COMPARED, len(ids))).astype(np.int64))
    return [int(example_id) for example_id in ids[spread]]
