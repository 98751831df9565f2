"""The examples that a page shows: their labels, paths and thumbnails."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.inspection.thumbnails import Thumbnail, make_thumbnail
from pipeline.progress import stage

MAX_THUMBNAIL_CHARS = 20_000


@dataclass(frozen=True)
class PageExample:
    """An example as a page shows it.

    Attributes:
        example_id: Its row in the corpus.
        label: Its label.
        path: An image's path in its source, or the user's own id of a vector.
        thumbnail: Of the image as the encoder sees it; None where there is nothing to look at.
    """

    example_id: int
    label: str
    path: str
    thumbnail: Thumbnail | None


def read_examples(
    corpus: Corpus, ids: Sequence[int], transform: TransformConfig, thumbnail_chars: int
) -> dict[int, PageExample]:
    """Reads examples: each part of the corpus that holds some of them once, one part at a time.

    Args:
        corpus: Theirs.
        ids: Example ids, in any order, as often as the page shows them.
        transform: Says what the encoder sees of them.
        thumbnail_chars: Of all thumbnails of the page together, each of which it holds as often as it is shown.

    Raises:
        CorruptDataError: A part is not what its manifest records.
    """
    ids_of_part: dict[int, list[int]] = {}
    for example_id in sorted(set(ids)):
        ids_of_part.setdefault(corpus.part_of(example_id), []).append(example_id)
    max_chars = min(MAX_THUMBNAIL_CHARS, thumbnail_chars // max(1, len(ids)))
    payload, examples = corpus.payload, {}
    view = None if payload.viewer is None else payload.viewer(transform)
    with stage("examples for the report", len(ids_of_part), "parts") as advance:
        for part, part_ids in ids_of_part.items():
            start = corpus.part_ids(part).start
            table = corpus.read_part(part).take([example_id - start for example_id in part_ids])
            columns = (table.column("label").to_pylist(), payload.paths(table), payload.contents(table))
            for example_id, label, path, content in zip(part_ids, *columns, strict=True):
                thumbnail = None if view is None else make_thumbnail(view(content), max_chars)
                examples[example_id] = PageExample(example_id, label, path, thumbnail)
            advance()
    return examples
