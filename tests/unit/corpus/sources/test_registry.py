from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipeline.config import CorpusConfig, SourceConfig
from pipeline.corpus.payloads import VECTOR
from pipeline.corpus.sources.glyphs import Glyphs
from pipeline.corpus.sources.image_archive import ImageArchive
from pipeline.corpus.sources.image_folder import ImageFolder
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.registry import SOURCES, open_source
from pipeline.errors import InputError
from tests.unit.corpus.samples import (
    faces,
    folder_config,
    make_corpus,
    parquet_config,
    split,
    write_folder,
    write_tar,
    write_vectors,
)


def test_each_kind_opens_its_source(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", faces())
    archive = write_tar(tmp_path / "x.tar.gz", faces())
    vectors = write_vectors(tmp_path / "v.parquet", [[1.0], [2.0]], ["a", "b"])
    assert isinstance(open_source(CorpusConfig()), Glyphs)
    assert isinstance(open_source(folder_config(folder)), ImageFolder)
    assert isinstance(open_source(folder_config(archive)), ImageArchive)
    assert isinstance(open_source(parquet_config(vectors)), ParquetSource)


@pytest.mark.parametrize("make_config", [folder_config, parquet_config])
def test_missing_path_is_an_input_error_that_names_it(
    tmp_path: Path, make_config: Callable[[Path], CorpusConfig]
) -> None:
    with pytest.raises(InputError, match="nowhere does not exist"):
        open_source(make_config(tmp_path / "nowhere"))


def test_file_that_is_neither_folder_nor_archive_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"faces\.zip is neither a folder nor"):
        open_source(folder_config(tmp_path / "faces.zip"))


def test_limits_of_the_config_reach_the_source(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, faces(1, 1))
    _, rejected = split(open_source(folder_config(folder, max_image_pixels=63)))
    assert [entry.reason for entry in rejected] == ["too_large"]


def test_the_config_names_every_source_of_the_table_and_no_other() -> None:
    assert set(get_args(SourceConfig.model_fields["kind"].annotation)) == set(SOURCES)


class Steps:
    """A source of one number after the other."""

    description, payload, num_entries = "steps", VECTOR, 7

    def __iter__(self) -> Iterator[Item | Rejected]:
        for step in range(1, 7):
            yield Item(f"label {step % 2}", np.array([step, 1.0], np.float32), f"step {step}")
        yield Rejected("step 7", "too_far", "nobody goes there")


def test_a_new_entry_of_the_table_becomes_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of CONTRIBUTING.md, with a source that takes no path."""
    monkeypatch.setitem(SOURCES, "steps", lambda config: Steps())
    source = SourceConfig().model_copy(update={"kind": "steps"})
    corpus = make_corpus(tmp_path, CorpusConfig(test_fraction=0.0).model_copy(update={"source": source}))
    manifest = corpus.manifest
    assert (manifest.source, manifest.payload, manifest.quarantined) == ("steps", "vector", {"too_far": 1})
    assert sorted(corpus.read_paths(0)) == [f"step {step}" for step in range(1, 7)]
    assert corpus.label_names == ["label 0", "label 1"]
