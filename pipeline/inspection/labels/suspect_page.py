"""A page to judge suspects by eye: each beside examples of its own label and of the one that is suggested."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError
from pipeline.inspection.inspected import Inspected
from pipeline.inspection.labels.label_list import COLUMNS
from pipeline.inspection.labels.suspects import Suspect, Suspects
from pipeline.inspection.report.document import fill
from pipeline.inspection.report.examples import Example, read_examples
from pipeline.progress import say

NUM_BESIDE = 3
MAX_CARDS = 400
MAX_BYTES = 15_000_000
PICTURE_CHARS = 10_000_000
"""What all pictures of a page may come to."""
MAX_PICTURE_CHARS = 20_000


@dataclass(frozen=True)
class Card:
    """One suspect, and what it is compared with.

    Attributes:
        suspect: The example in question.
        example: Its picture.
        own: Examples of its label.
        suggested: Examples of the suggested label.
        new_label: Filled in beforehand; may be empty.
    """

    suspect: Suspect
    example: Example
    own: Sequence[Example]
    suggested: Sequence[Example]
    new_label: str


def write_page(
    file: Path,
    inspected: Inspected,
    corpus: Corpus,
    found: Suspects,
    num: int,
    accept_above: float | None,
    transform: TransformConfig,
) -> int:
    """Writes the page: one HTML file that loads nothing, from which a list can be saved.

    Args:
        file: Written, in place of an older one.
        inspected: The generation.
        corpus: Whose labels are in question.
        found: Suspects of it.
        num: The first so many are shown, at most MAX_CARDS.
        accept_above: Fill in the suggestion where the score is at least this; None: nowhere.
        transform: Cuts the pictures, where the checkpoint is gone that says what the encoder saw.

    Returns:
        How many are shown.

    Raises:
        InputError: The corpus holds nothing to look at, the page would be too large, or the file cannot be written.
    """
    if corpus.payload.viewer is None:
        raise InputError(
            f"the corpus holds {corpus.payload.plural}, which are nothing to look at: leave --page out, and use --csv"
        )
    if num > MAX_CARDS:
        raise InputError(f"a page shows at most {MAX_CARDS} suspects: give --number {MAX_CARDS} or fewer, or use --csv")
    try:
        transform = inspected.checkpoint.transform
    except InputError:
        say(f"note: checkpoint {inspected.manifest.checkpoint_step} is gone: pictures are cut as the config says")
    cards = _cards(corpus, found, num, accept_above, transform)
    page = fill(
        {
            "place": shlex.join(["--workspace", inspected.workspace.store.uri, "--run", inspected.workspace.run]),
            "run": inspected.workspace.run,
            "generation": inspected.manifest.number,
            "corpus": corpus.manifest.number,
            "cards": cards,
            "num_found": found.num_found,
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


def _cards(
    corpus: Corpus, found: Suspects, num: int, accept_above: float | None, transform: TransformConfig
) -> list[Card]:
    rows = found.rows[:num]
    beside = [[_beside(corpus, label, found, one) for label in (one.label, one.suggested_label)] for one in rows]
    ids = [one.example_id for one in rows] + [example for pair in beside for ids in pair for example in ids]
    # A picture stands in the page as often as it is shown, so each gets its share of what the page may hold.
    max_chars = min(MAX_PICTURE_CHARS, PICTURE_CHARS // max(1, len(ids)))
    examples = read_examples(corpus, ids, transform, max_chars)
    return [
        Card(
            one,
            examples[one.example_id],
            [examples[example_id] for example_id in own],
            [examples[example_id] for example_id in suggested],
            one.accepted(accept_above),
        )
        for one, (own, suggested) in zip(rows, beside, strict=True)
    ]


def _beside(corpus: Corpus, label: str, found: Suspects, suspect: Suspect) -> list[int]:
    """Examples of a label, spread over all it has; those that are suspect themselves only where there are no others."""
    code = np.searchsorted(np.asarray(corpus.label_names, dtype=object), label)
    if code == len(corpus.label_names) or corpus.label_names[code] != label:
        return []
    ids = np.flatnonzero(corpus.labels == code)
    ids = ids[ids != suspect.example_id]
    trusted = np.setdiff1d(ids, found.ids)
    ids = trusted if len(trusted) else ids
    places = np.unique(np.linspace(0, len(ids) - 1, min(NUM_BESIDE, len(ids))).astype(np.int64))
    return [int(example_id) for example_id in ids[places]]
