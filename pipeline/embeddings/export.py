"""Embeddings for others to use: Parquet with ids, labels and vectors, and no images."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

ExportDType = Literal["float32", "float16", "int8"]
VECTOR = "vector.list.element"
"""Parquet's name of the numbers."""


def export_part(
    example_ids: range,
    sources: Sequence[str],
    labels: Sequence[str],
    vectors_ND: npt.NDArray[np.float32] | npt.NDArray[np.int8],
    dtype: ExportDType,
    facts: dict[str, str],
) -> bytes:
    """One file: ``example_id``, ``id`` (where the example came from), ``label``, ``vector``.

    `jobs.prepare` reads such files as a corpus of vectors.

    Args:
        example_ids: N consecutive ids.
        sources: Paths or ids in the source, length N.
        labels: Names, length N.
        vectors_ND: (N, D); for ``int8`` the codes, which give the unit vector when they are made of length one.
        dtype: What is stored.
        facts: Go into the file's metadata: which checkpoint, which corpus.
    """
    flat = pa.array(vectors_ND.astype(dtype, copy=False).ravel())
    columns = {
        "example_id": pa.array(np.arange(example_ids.start, example_ids.stop)),
        "id": pa.array(sources, pa.string()),
        "label": pa.array(labels, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors_ND.shape[1]),
    }
    sink = pa.BufferOutputStream()
    # Vectors do not compress; names do. Parquet knows no number smaller than four bytes: int8 takes one as a place
    # in a dictionary of its at most 255 values.
    dictionaries = ["label", VECTOR] if dtype == "int8" else ["label"]
    compression = {"id": "zstd", "label": "zstd", "example_id": "zstd", VECTOR: "none"}
    pq.write_table(
        pa.table(columns, metadata=facts),
        sink,
        compression=compression,
        use_dictionary=dictionaries,
        write_page_checksum=True,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data
