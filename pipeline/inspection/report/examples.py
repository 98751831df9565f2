"""The examples that a page shows: their labels, where they came from, and their pictures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.corpus.reader import Corpus
from pipeline.corpus.transform import Transform
from pipeline.inspection.thumbnails import Thumbnail, thumbnail
from pipeline.progress import stage


@dataclass(frozen=True)
class Example:
    """One example.

    Attributes:
        example_id: Its row in the corpus.
        label: Its label.
        path: An image's path in its source, or the user's own id of a vector.
        picture: What the encoder sees; None of a vector.
    """

    example_id: int
    label: str
    path: str
    picture: Thumbnail | None


def read_examples(corpus: Corpus, ids: Iterable[int], transform: Transform, max_chars: int) -> Mapping[int, Example]:
    """Reads examples, each part of the corpus that holds one of them once, and no two at a time.

    Args:
        corpus: Of images or vectors.
        ids: Example ids, in any order, repeated or not.
        transform: What the encoder sees of an image.
        max_chars: Length that a picture's URI may have.

    Raises:
        CorruptDataError: A part is not what its manifest records.
    """
    ids_of_part: dict[int, list[int]] = {}
    for example_id in sorted(set(ids)):
        ids_of_part.setdefault(corpus.part_of(example_id), []).append(example_id)
    is_image = corpus.manifest.payload == "image"
    examples = {}
    with stage("examples for the report", len(ids_of_part), "parts") as done:
        for part, wanted in ids_of_part.items():
            start = corpus.part_ids(part).start
            table = corpus.read_part(part).select(["example_id", "label", "image" if is_image else "source_id"])
            for row in table.take([example_id - start for example_id in wanted]).to_pylist():
                path, picture = row.get("source_id"), None
                if is_image:
                    path = row["image"]["path"]
                    picture = thumbnail(transform.view(row["image"]["bytes"]), max_chars)
                examples[row["example_id"]] = Example(row["example_id"], row["label"], path, picture)
            done()
    return examples
