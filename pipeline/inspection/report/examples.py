"""The examples that a page shows: their labels, where they came from, and their pictures."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.config import TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.inspection.thumbnails import Thumbnail, thumbnail
from pipeline.progress import stage


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        example_id: Its row in the corpus.
        label: Its label.
        path: An image's path in its source, or the user's own id of a vector.
        picture: What the encoder sees; None where that is nothing to look at.
    """

    example_id: int
    label: str
    path: str
    picture: Thumbnail | None


def read_examples(corpus: Corpus, ids: Iterable[int], transform: TransformConfig, max_chars: int) -> dict[int, Example]:
    """Reads examples, each part of the corpus that holds one of them once, and no two at a time.

    Args:
        corpus: Theirs.
        ids: In any order, repeated or not.
        transform: Says what the encoder sees of them.
        max_chars: Length that a picture's URI may have.

    Raises:
        CorruptDataError: A part is not what its manifest records.
    """
    ids_of_part: dict[int, list[int]] = {}
    for example_id in sorted(set(ids)):
        ids_of_part.setdefault(corpus.part_of(example_id), []).append(example_id)
    payload, examples = corpus.payload, {}
    view = None if payload.viewer is None else payload.viewer(transform)
    with stage("examples for the report", len(ids_of_part), "parts") as done:
        for part, wanted in ids_of_part.items():
            start = corpus.part_ids(part).start
            table = corpus.read_part(part).take([example_id - start for example_id in wanted])
            columns = (table.column("label").to_pylist(), payload.paths(table), payload.contents(table))
            for example_id, label, path, content in zip(wanted, *columns, strict=True):
                picture = None if view is None else thumbnail(view(content), max_chars)
                examples[example_id] = Example(example_id, label, path, picture)
            done()
    return examples
