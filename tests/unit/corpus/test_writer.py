from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.corpus import writer as writer_module
from pipeline.corpus.payloads import IMAGE, VECTOR, Payload
from pipeline.corpus.schema import EXAMPLES, LABELS, QUARANTINE, corpora, from_parquet
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.corpus.writer import CorpusWriter, Fingerprint
from pipeline.storage.workspace import Workspace

Examples = list[tuple[str, bytes]]


class Written:
    """What a writer makes of entries, read back."""

    def __init__(self, workspace: Workspace, per_part: int, entries: Sequence[Item | Rejected]) -> None:
        self._dataset = corpora(workspace)
        transaction = self._dataset.begin(0)
        self.writer = CorpusWriter(transaction, IMAGE, per_part)
        for entry in entries:
            if isinstance(entry, Item):
                self.writer.add(entry)
            else:
                self.writer.reject(entry)
        self.writer.finish()
        self.parts = transaction.parts

    def tables(self, role: str) -> list[pa.Table]:
        return [from_parquet(self._dataset.read_part(part)) for part in self.parts if part.role == role]


def fingerprint(examples: Sequence[tuple[str, bytes]], payload: Payload[Any] = IMAGE) -> str:
    found = Fingerprint(payload)
    for label, content in examples:
        found.add(label, content)
    return found.hexdigest()


@given(st.lists(st.tuples(st.text(), st.binary())), st.lists(st.tuples(st.text(), st.binary())))
@example([("ab", b"c")], [("a", b"bc")])
@example([("a", b"b"), ("c", b"d")], [("c", b"d"), ("a", b"b")])
def test_fingerprints_are_equal_only_for_equal_examples_in_equal_order(one: Examples, two: Examples) -> None:
    assert (fingerprint(one) == fingerprint(two)) == (one == two)


def test_fingerprint_tells_vectors_from_images_of_the_same_bytes() -> None:
    assert fingerprint([("a", bytes(8))], VECTOR) != fingerprint([("a", bytes(8))], IMAGE)


@pytest.mark.parametrize("per_part", [1, 3, 4, 10, 99])
def test_parts_hold_dense_ids_in_source_order_whatever_their_size(workspace: Workspace, per_part: int) -> None:
    entries = [Item(f"l{i % 3}", bytes([i]), f"{i}.png") for i in range(10)]
    written = Written(workspace, per_part, entries)
    tables = written.tables(EXAMPLES)
    assert [table.num_rows for table in tables] == [min(per_part, 10 - i) for i in range(0, 10, per_part)]
    whole = pa.concat_tables(tables)
    assert whole.column("example_id").to_pylist() == list(range(10))
    assert whole.column("label").to_pylist() == [f"l{i % 3}" for i in range(10)]
    assert whole.column("image").to_pylist() == [{"bytes": bytes([i]), "path": f"{i}.png"} for i in range(10)]
    expected = [(f"l{i % 3}", bytes([i])) for i in range(10)]
    assert written.writer.fingerprint == fingerprint(expected)


def test_part_of_large_contents_is_closed_early(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_PART_BYTES", 1000)
    entries = [Item("l", bytes(400), f"{i}.png") for i in range(7)]
    written = Written(workspace, 2048, entries)
    assert [table.num_rows for table in written.tables(EXAMPLES)] == [3, 3, 1]


def test_labels_part_lists_every_example(workspace: Workspace) -> None:
    (labels,) = Written(workspace, 2, [Item(label, b"x", "x") for label in "bab"]).tables(LABELS)
    assert labels.to_pydict() == {"example_id": [0, 1, 2], "label": ["b", "a", "b"]}


def test_quarantine_is_written_even_when_empty(workspace: Workspace) -> None:
    (quarantine,) = Written(workspace, 2, [Item("a", b"x", "x")]).tables(QUARANTINE)
    assert (quarantine.num_rows, quarantine.column_names) == (0, ["path", "reason", "detail"])


def test_long_quarantine_is_cut_into_parts_and_counted(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "QUARANTINE_ROWS_PER_PART", 2)
    entries = [Rejected(f"{i}", "odd" if i % 2 else "even", "d") for i in range(5)]
    written = Written(workspace, 2, entries)
    whole = pa.concat_tables(written.tables(QUARANTINE))
    assert whole.column("path").to_pylist() == ["0", "1", "2", "3", "4"]
    assert written.writer.quarantined == {"even": 3, "odd": 2}
    assert len({part.key for part in written.parts}) == len(written.parts)
