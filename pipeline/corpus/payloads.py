"""What an example may hold: one object for each payload, which is asked wherever payloads differ.

D: length of a vector.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.config import TransformConfig
from pipeline.corpus.transform import Alter, Transform

Vector = npt.NDArray[np.float32]
Content = bytes | Vector
"""What one example holds."""
C = TypeVar("C", bound=Content)
C_contra = TypeVar("C_contra", bound=Content, contravariant=True)

IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class ToInput(Protocol[C_contra]):
    """Makes the encoder's input of a content: float32, (C, H, W) of an image, (D,) of a vector."""

    def __call__(self, content: C_contra, /, alter: Alter | None = None) -> npt.NDArray[np.float32]:
        """Makes it; ``alter`` changes the picture on the way, where a payload has one."""


@dataclass(frozen=True)
class Payload(Generic[C]):
    """One kind of content: how it is stored, fingerprinted, read back, fed to an encoder, and shown.

    Attributes:
        name: In manifests and messages; the Arrow column that holds the contents has this name, too.
        content_column: Where a content stands: that column, or a field of it (``image.bytes``).
        path_column: Where its path in the source stands, or the user's own id.
        batch_rows: Rows of a user's file that are read at a time.
        fields: The columns of an examples part beside id and label, that of the contents first; given D of vectors.
        to_columns: Contents and paths, of one example or more, as these columns.
        from_scalar: The content in a value of ``content_column``.
        to_bytes: What the fingerprint takes in: for equal contents the same on every machine.
        to_input: What makes the encoder's input of a content.
        viewer: What shows a content as the encoder sees it; None: there is nothing to look at, and nothing to perturb.
        vector_dim: D of a content, for the manifest.
        is_derived: Whether a network that is not ours made the contents, and so may have seen any label.
    """

    name: str
    content_column: str
    path_column: str
    batch_rows: int
    fields: Callable[[int | None], list[pa.Field]]
    to_columns: Callable[[Sequence[C], Sequence[str | None]], list[pa.Array]]
    from_scalar: Callable[[pa.Scalar], C]
    to_bytes: Callable[[C], bytes]
    to_input: Callable[[TransformConfig], ToInput[C]]
    viewer: Callable[[TransformConfig], Callable[[C], Image.Image]] | None = None
    vector_dim: Callable[[C], int | None] = lambda content: None
    is_derived: bool = False

    @property
    def plural(self) -> str:
        """For messages."""
        return f"{self.name}s"

    @property
    def holds_path(self) -> bool:
        """Whether the column of the contents holds their paths, too."""
        return self.path_column.startswith(f"{self.name}.")

    def column(self, table: pa.Table) -> pa.Array:
        """The contents of an examples part, as they are stored."""
        return _leaf(table, self.content_column)

    def contents(self, table: pa.Table) -> list[C]:
        """The contents of an examples part."""
        return [self.from_scalar(value) for value in self.column(table)]

    def paths(self, table: pa.Table) -> list[str]:
        """Where each example of an examples part came from."""
        paths: list[str] = _leaf(table, self.path_column).to_pylist()
        return paths


def _leaf(table: pa.Table, place: str) -> pa.Array:
    """A column, or a field of a column of structs."""
    name, _, field = place.partition(".")
    column = table.column(name).combine_chunks()
    return column.field(field) if field else column


def _image_columns(contents: Sequence[bytes], paths: Sequence[str | None]) -> list[pa.Array]:
    columns = [pa.array(contents, pa.binary()), pa.array(paths, pa.string())]
    return [pa.StructArray.from_arrays(columns, fields=list(IMAGE_TYPE))]


IMAGE = Payload[bytes](  # encoded, as it came; in the layout of Hugging Face's Image
    "image",
    content_column="image.bytes",
    path_column="image.path",
    batch_rows=64,
    fields=lambda vector_dim: [pa.field("image", IMAGE_TYPE)],
    to_columns=_image_columns,
    from_scalar=lambda value: value.as_py(),
    to_bytes=bytes,
    to_input=Transform,
    viewer=lambda config: Transform(config).view,
)


def _vector_columns(contents: Sequence[Vector], paths: Sequence[str | None]) -> list[pa.Array]:
    numbers = pa.array(np.concatenate(contents), pa.float32())
    return [pa.FixedSizeListArray.from_arrays(numbers, len(contents[0])), pa.array(paths, pa.string())]


def _itself(vector: Vector, /, alter: Alter | None = None) -> Vector:
    assert alter is None, "a vector has no picture"
    return vector


VECTOR = Payload[Vector](  # finite, not zero
    "vector",
    content_column="vector",
    path_column="source_id",
    batch_rows=8192,
    fields=lambda dim: [pa.field("vector", pa.list_(pa.float32(), dim)), pa.field("source_id", pa.string())],
    to_columns=_vector_columns,
    from_scalar=lambda value: value.values.to_numpy(zero_copy_only=True),  # a read-only view of Arrow's memory
    to_bytes=lambda vector: vector.astype("<f4", copy=False).tobytes(),
    to_input=lambda config: _itself,
    vector_dim=len,
    is_derived=True,
)

PAYLOADS: Mapping[str, Payload[Any]] = {payload.name: payload for payload in (IMAGE, VECTOR)}


def payload_of(name: str) -> Payload[Any]:
    """The payload that a manifest names.

    Raises:
        ValueError: This version knows none of that name.
    """
    if name not in PAYLOADS:
        raise ValueError(f"payload {name!r} is none of {', '.join(PAYLOADS)}")
    return PAYLOADS[name]
