"""The catalog of the SQL session: its views over verified files and small tables in memory."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import QUARANTINE, corpora
from pipeline.inspection.generation import OpenGeneration, corpus_of, open_generation
from pipeline.inspection.query.manifest_tables import checkpoint_table, generation_table
from pipeline.inspection.temporary import writing
from pipeline.progress import stage
from pipeline.storage.publish import PartRecord, VersionedDataset
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import KINDS, GenerationManifest

PATH = "path_in_source"
"""The paths' column below the view ``corpus``; no other column has the name, so a query plan with it reads paths."""
_MIN_PROGRESS_BYTES = 2**28  # verifying fewer bytes shows no progress bar


class Catalog:
    """The views that a session has opened so far.

    Attributes:
        views: Name to SELECT, in the order in which they build on each other.
        tables: Arrow tables that they read, by name.
        files: All files that they read.
    """

    def __init__(self, workspace: Workspace, load: Callable[[], Sequence[OpenGeneration]], folder: Path) -> None:
        self.views: dict[str, str] = {}
        self.tables: dict[str, pa.Table] = {}
        self.files: list[str] = []
        self._workspace, self._load, self._folder = workspace, load, folder
        self._parts: list[tuple[VersionedDataset[Any], PartRecord]] = []

    def open(self, view: str) -> None:
        """Adds a view, and opens the parts that it reads.

        Raises:
            InputError: The run has no generation, or one was removed meanwhile.
            CorruptDataError: A part is not what was published.
            UnavailableError: The temporary folder is full.
        """
        makers: dict[str, Callable[[], str]] = {
            "triplets": self._triplets,
            "corpus": self._corpus_view,
            "quarantine": self._quarantine,
            "generations": self._generations,
            "checkpoints": self._checkpoints,
        }
        self.views[view] = makers[view]()

    def add_paths(self) -> None:
        """Reads the examples' paths in the source, for which all of the corpus is read and verified."""
        self.tables["examples"] = self._examples(_read_paths(self._corpus, self._folder / "paths.arrow"))

    def verify_parts_again(self) -> None:
        """Reads all parts once more; raises as ``open`` does if one is no longer what it was."""
        for dataset, part in self._parts:
            dataset.read_part(part)

    @cached_property
    def _generations_shown(self) -> Sequence[OpenGeneration]:
        return self._load()

    @cached_property
    def _corpus(self) -> Corpus:
        shown = self._generations_shown
        return shown[-1].corpus if shown else Corpus.open(self._workspace)

    def _triplets(self) -> str:
        selects = []
        for generation in self._generations_shown or [open_generation(self._workspace)]:
            manifest, labels = generation.manifest, self._labels(generation.corpus)
            name = f"triplets_{manifest.number}"
            files = self._verified(generations(self._workspace), manifest.parts_of("triplets"))
            self.views[name] = (
                f"SELECT {manifest.number}::BIGINT AS generation, *, d_an::DOUBLE - d_ap AS margin, "
                f"{_kind_expression(manifest)} AS kind FROM {files}"
            )
            selects.append(
                f"SELECT t.*, a.label, n.label AS negative_label FROM {name} t "
                f"LEFT JOIN {labels} a ON a.example_id = t.anchor LEFT JOIN {labels} n ON n.example_id = t.negative"
            )
        return " UNION ALL ".join(selects)

    def _corpus_view(self) -> str:
        self.tables["examples"] = self._examples(pa.nulls(self._corpus.num_examples, pa.string()))
        return f"SELECT example_id, label, is_test, {PATH} AS path FROM examples"

    def _quarantine(self) -> str:
        rejected = self._verified(corpora(self._workspace), self._corpus.manifest.parts_of(QUARANTINE))
        selects = []
        for generation in self._generations_shown:
            manifest, labels = generation.manifest, self._labels(generation.corpus)
            files = self._verified(generations(self._workspace), manifest.parts_of("quarantine"))
            selects.append(
                f"SELECT {manifest.number}::BIGINT AS generation, q.example_id, e.label, NULL::VARCHAR AS path, "
                "q.reason, q.excluded, q.other_id, o.label AS other_label, q.distance, q.score, q.suggested_label, "
                f"q.detail FROM {files} q LEFT JOIN {labels} e ON e.example_id = q.example_id "
                f"LEFT JOIN {labels} o ON o.example_id = q.other_id"
            )
        selects.append(
            "SELECT NULL::BIGINT AS generation, NULL::BIGINT AS example_id, NULL::VARCHAR AS label, path, reason, "
            "true AS excluded, NULL::BIGINT AS other_id, NULL::VARCHAR AS other_label, NULL::FLOAT AS distance, "
            f"NULL::FLOAT AS score, NULL::VARCHAR AS suggested_label, detail FROM {rejected}"
        )
        return " UNION ALL ".join(selects)

    def _generations(self) -> str:
        self.tables["generation_rows"] = generation_table(self._workspace)
        return "SELECT * FROM generation_rows"

    def _checkpoints(self) -> str:
        self.tables["checkpoint_rows"] = checkpoint_table(self._workspace)
        return "SELECT * FROM checkpoint_rows"

    def _labels(self, corpus: Corpus) -> str:
        """The name of a table (example_id, label)."""
        name = f"labels_{corpus.manifest.number}"
        if name not in self.tables:
            self.tables[name] = pa.table({"example_id": np.arange(corpus.num_examples), "label": _label_column(corpus)})
        return name

    def _examples(self, paths: pa.Array | pa.ChunkedArray) -> pa.Table:
        columns = {"example_id": np.arange(self._corpus.num_examples), "label": _label_column(self._corpus)}
        return pa.table(columns | {"is_test": self._corpus.is_test, PATH: paths})

    def _verified(self, dataset: VersionedDataset[Any], parts: Sequence[PartRecord]) -> str:
        """Verifies parts, and makes them a table of SQL; files of a local store are read in place, others copied."""
        names = []
        is_long = sum(part.num_bytes for part in parts) >= _MIN_PROGRESS_BYTES
        with stage("verify", len(parts), "parts") if is_long else nullcontext() as advance:
            for part in parts:
                data = dataset.read_part(part)
                # DuckDB takes [, * and ? in a name for a pattern, so it gets names without them.
                name = self._folder / f"{len(self._parts):06d}.parquet"
                local = dataset.store.local_path(part.key)
                with writing(name):
                    if local is None:
                        name.write_bytes(data)
                    else:
                        name.symlink_to(local)
                self._parts.append((dataset, part))
                self.files += [str(name)] if local is None else [str(name), str(local)]
                names.append(str(name))
                if advance is not None:
                    advance()
        return f"read_parquet({sql_literal(names)}, hive_partitioning = false)"


def open_generations(workspace: Workspace, number: int | None, every: bool = False) -> list[OpenGeneration]:
    """Opens generations, and each of their corpora once.

    Args:
        workspace: Of the run.
        number: Of a generation; None: the newest, or none where there is none.
        every: All of them instead.

    Raises:
        InputError: There is no such generation, or a corpus is gone.
    """
    dataset = generations(workspace)
    numbers = dataset.numbers()
    corpora: dict[str, Corpus] = {}
    opened = []
    for each in numbers if every else numbers[-1:] if number is None else [number]:
        manifest = dataset.read(each)
        fingerprint = manifest.corpus_fingerprint
        if fingerprint not in corpora:
            corpora[fingerprint] = corpus_of(workspace, manifest)
        opened.append(OpenGeneration(workspace, Generation(dataset, manifest), corpora[fingerprint]))
    return opened


def sql_literal(value: str | Sequence[str]) -> str:
    """A string, or a list of strings, as a literal of SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"[{', '.join(map(sql_literal, value))}]"


def _kind_expression(manifest: GenerationManifest) -> str:
    """SQL for the kind of a triplet, as ``count_kinds`` defines it, for the margin of the generation's band."""
    hard, semi_hard, easy = map(sql_literal, KINDS)
    return (
        f"CASE WHEN d_an <= d_ap THEN {hard} WHEN d_an::DOUBLE >= d_ap::DOUBLE + "
        f"{sql_literal(repr(manifest.mining.band.margin))}::DOUBLE THEN {easy} ELSE {semi_hard} END"
    )


def _label_column(corpus: Corpus) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(corpus.labels, pa.array(corpus.label_names, pa.string()))


def _read_paths(corpus: Corpus, file: Path) -> pa.ChunkedArray:
    """Paths of all examples, in a mapped file, since they may not fit in memory."""
    schema = pa.schema([(PATH, pa.string())])
    with (
        writing(file),
        pa.ipc.new_file(str(file), schema) as writer,
        stage("paths", corpus.num_parts, "parts") as advance,
    ):
        for part in range(corpus.num_parts):
            writer.write_batch(pa.record_batch([pa.array(corpus.read_paths(part), pa.string())], schema=schema))
            advance()
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()[PATH]
