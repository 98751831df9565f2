"""The parts of an embedding, and the key under which they are kept.

The key names what a vector depends on: weights, corpus, preprocessing, stored precision, and how it was computed
(batch size, device and threads change last bits). A new checkpoint has a new key, so it can never be served old
vectors; a restarted refresh finds the parts it has. The code of a user's own network is not in the key: a network
whose code changes wants a new name.
A part is created once, whole and conditionally: two actors that encode the same part write the same bytes,
and the first one stands.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import CorruptDataError
from pipeline.failpoints import Failpoint, reach
from pipeline.storage.workspace import Workspace

DType = Literal["float32", "float16"]


def embeddings_key(
    weights_digest: str, corpus_fingerprint: str, part_sizes: Sequence[int], transform_digest: str, computed: str
) -> str:
    """The key of an embedding: 32 hex digits.

    Args:
        weights_digest: Of the checkpoint.
        corpus_fingerprint: Of the corpus.
        part_sizes: Examples in each part of the corpus: the same examples may have been cut into other parts.
        transform_digest: Of the preprocessing.
        computed: Stored precision, batch size, device and threads, in words.
    """
    text = "\n".join((weights_digest, corpus_fingerprint, str(list(part_sizes)), transform_digest, computed))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class EmbeddingParts:
    """The embedding stored under one key: part i covers the examples of the corpus's part i.

    Attributes:
        workspace: Where it is kept.
        key: See ``embeddings_key``.
    """

    workspace: Workspace
    key: str

    def present(self) -> set[int]:
        """Which parts are stored."""
        prefix = self.workspace.embeddings_prefix(self.key) + "/"
        names = (key.removeprefix(prefix) for key in self.workspace.store.list(prefix))
        return {int(name.removesuffix(".parquet")) for name in names if name.endswith(".parquet")}

    def write(self, part: int, first_id: int, vectors_ND: npt.NDArray[np.float32], dtype: DType) -> None:
        """Stores one part, unless somebody already has.

        Args:
            part: Number of the part.
            first_id: example_id of its first row; ids are consecutive.
            vectors_ND: float32, shape (N, D).
            dtype: What to store.
        """
        num_rows, num_dims = vectors_ND.shape
        flat = pa.array(vectors_ND.astype(dtype).ravel())
        table = pa.table(
            {
                "example_id": pa.array(np.arange(first_id, first_id + num_rows)),
                "vector": pa.FixedSizeListArray.from_arrays(flat, num_dims),
            },
            metadata={"key": self.key},
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=True)
        reach(Failpoint.PART_ENCODED)
        self.workspace.store.create(self._object(part), bytes(sink.getvalue()))
        reach(Failpoint.PART_STORED)

    def read(self, part: int, first_id: int, num_rows: int) -> npt.NDArray[np.floating]:
        """The vectors of one part, shape (N, D), in their stored dtype.

        Raises:
            CorruptDataError: The file is damaged, or not the part that was asked for.
        """
        name = self._object(part)
        try:
            data = self.workspace.store.get(name)
            table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise CorruptDataError(
                f"embedding part {name} in {self.workspace.store.uri} is damaged ({error}): delete it and mine again"
            ) from error
        expected = (self.key.encode(), num_rows, first_id)
        ids = table["example_id"]
        found = ((table.schema.metadata or {}).get(b"key"), len(table), ids[0].as_py() if len(table) else first_id)
        if found != expected:
            raise CorruptDataError(
                f"embedding part {name} in {self.workspace.store.uri} is not the part its name says: "
                "delete it and mine again"
            )
        vectors = table["vector"].combine_chunks()
        flat = vectors.flatten().to_numpy(zero_copy_only=False)
        result: npt.NDArray[np.floating] = flat.reshape(num_rows, -1)
        return result

    def _object(self, part: int) -> str:
        return f"{self.workspace.embeddings_prefix(self.key)}/{part:06d}.parquet"
