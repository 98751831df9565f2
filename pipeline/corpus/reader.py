"""The published corpus, as its readers see it."""

import bisect
import itertools
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.corpus.payloads import payload_of
from pipeline.corpus.schema import EXAMPLES, LABELS, CorpusManifest, corpora, from_parquet
from pipeline.corpus.split import Split
from pipeline.errors import CorruptDataError, InputError
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.tombstones import read_or_tombstone
from pipeline.storage.workspace import Workspace


class Corpus:
    """One pinned corpus. Opening reads the labels; contents are read part by part.

    Attributes:
        manifest: What was published.
        payload: What an example holds.
        split: Which labels are kept for evaluation.
        label_names: Names of the labels, sorted; a label's code is its place here.
        labels: int32 (N,), the label's code of each example id.
        is_test: bool (N,), whether an example's label is kept for evaluation.

    Raises:
        CorruptDataError: The stored labels are not those that the manifest promises.
    """

    def __init__(self, dataset: VersionedDataset[CorpusManifest], manifest: CorpusManifest) -> None:
        self._dataset = dataset
        self.manifest_key = dataset.manifest_key(manifest.number)
        self.manifest, self.payload = manifest, payload_of(manifest.payload)
        self._parts = manifest.parts_of(EXAMPLES)
        self._starts = [0, *itertools.accumulate(part.num_rows for part in self._parts)]
        self.label_names, self.labels = self._read_labels()
        listed = None if manifest.test_labels is None else frozenset(manifest.test_labels)
        self.split = Split(manifest.test_fraction, listed)
        test_of_code = [self.split.is_test(name) for name in self.label_names]
        self.is_test: npt.NDArray[np.bool_] = np.array(test_of_code, dtype=np.bool_)[self.labels]

    @classmethod
    def open(cls, workspace: Workspace, number: int | None = None) -> "Corpus":
        """Opens a corpus of a workspace.

        Args:
            workspace: Where it is published.
            number: Which one; the newest by default. Processes of one job pin the one that the job opened.

        Raises:
            InputError: The workspace has none yet, or not that one.
        """
        dataset = corpora(workspace)
        manifest = dataset.latest() if number is None else read_or_tombstone(dataset, number)
        if manifest is None:
            raise InputError(f"{workspace.store.uri} holds no corpus: run jobs.prepare on it first")
        return cls(dataset, manifest)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over labels and contents in order, and the split."""
        return self.manifest.fingerprint

    @property
    def num_examples(self) -> int:
        """N; example ids are 0 to N - 1."""
        return self.manifest.num_examples

    @property
    def num_parts(self) -> int:
        """Parts that hold examples."""
        return len(self._parts)

    def part_ids(self, part: int) -> range:
        """The example ids of a part, in the order of its rows."""
        return range(self._starts[part], self._starts[part + 1])

    def part_of(self, example_id: int) -> int:
        """The part that holds an example.

        Raises:
            IndexError: There is no such example.
        """
        if not 0 <= example_id < self.num_examples:
            raise IndexError(f"example {example_id} is not in 0 to {self.num_examples - 1}")
        return bisect.bisect_right(self._starts, example_id) - 1

    def part_sha256(self, part: int) -> str:
        """Digest of a part's stored bytes."""
        digest: str = self._parts[part].sha256
        return digest

    def read_part(self, part: int) -> pa.Table:
        """Reads a part in the corpus schema.

        Raises:
            CorruptDataError: The stored bytes are not those that the manifest promises.
        """
        return from_parquet(self._dataset.read_part(self._parts[part]))

    def read_paths(self, part: int) -> list[str]:
        """Where each example of a part came from: an image's path in its source, or the user's own id of a vector.

        Raises:
            CorruptDataError: The stored bytes are not those that the manifest promises.
        """
        data = self._dataset.read_part(self._parts[part])
        paths: list[str] = from_parquet(data, [self.payload.path_column]).column(0).to_pylist()
        return paths

    def paths_of(self, example_ids: Iterable[int]) -> dict[int, str]:
        """Where some examples came from, by id; a part that holds one of them is read once.

        Raises:
            IndexError: There is no such example.
            CorruptDataError: The stored bytes are not those that the manifest promises.
        """
        ids_of_part: dict[int, list[int]] = {}
        for example_id in set(example_ids):
            ids_of_part.setdefault(self.part_of(example_id), []).append(example_id)
        found: dict[int, str] = {}
        for part, wanted in sorted(ids_of_part.items()):
            paths, start = self.read_paths(part), self.part_ids(part).start
            found |= {example_id: paths[example_id - start] for example_id in wanted}
        return found

    def _read_labels(self) -> tuple[list[str], npt.NDArray[np.int32]]:
        parts = self.manifest.parts_of(LABELS)
        table = pa.concat_tables(from_parquet(self._dataset.read_part(part)) for part in parts)
        column = table.column("label").combine_chunks()
        found = column.dictionary.to_pylist()
        names = sorted(found)
        place = {name: code for code, name in enumerate(names)}
        codes = np.array([place[name] for name in found], dtype=np.int32)[np.asarray(column.indices)]
        if len(codes) != self.num_examples or len(names) != self.manifest.num_labels:
            raise CorruptDataError(
                f"corpus {self.manifest.number} promises {self.num_examples} examples of "
                f"{self.manifest.num_labels} labels but lists {len(codes)} of {len(names)}: prepare it again"
            )
        return names, codes
