"""The examples that a page shows: their labels, paths and thumbnails."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.inspection.thumbnails import Thumbnail, make_thumbnail
from pipeline.progress import stage


@dataclass(frozen=True)
class PageExample:
    """An example as a page shows it.

    Attributes:
        example_id: Its row in the corpus.
        label: Its label.
        path: An image's path in its source, or the user's own id of a vector.
        thumbnail: Of the image as the encoder sees it; None of a vector.
    """

    example_id: int
    label: str
    path: str
    thumbnail: Thumbnail | None


def read_examples(corpus: Corpus, ids: Iterable[int], transform: Transform, max_chars: int) -> dict[int, PageExample]:
    """Reads examples: each part of the corpus that holds some of them once, one part at a time.

    Args:
        corpus: Of images or vectors.
        ids: Example ids, in any order, repeated or not.
        transform: Of the encoder.
        max_chars: Greatest length of a thumbnail's URI.

    Raises:
        CorruptDataError: A part is not what its manifest promises.
    """
    ids_of_part: dict[int, list[int]] = {}
    for example_id in sorted(set(ids)):
        ids_of_part.setdefault(corpus.part_of(example_id), []).append(example_id)
    is_image = corpus.manifest.payload == "image"
    examples = {}
    with stage("examples for the report", len(ids_of_part), "parts") as done:
        for part, part_ids in ids_of_part.items():
            start = corpus.part_ids(part).start
            table = corpus.read_part(part).select(["example_id", "label", "image" if is_image else "source_id"])
            for row in table.take([example_id - start for example_id in part_ids]).to_pylist():
                path, thumbnail = row.get("source_id"), None
                if is_image:
                    path = row["image"]["path"]
                    thumbnail = make_thumbnail(transform.view(row["image"]["bytes"]), max_chars)
                examples[row["example_id"]] = PageExample(row["example_id"], row["label"], path, thumbnail)
            done()
    return examples
