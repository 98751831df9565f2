from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import CorpusConfig
from pipeline.corpus.sources.glyphs import Glyphs
from pipeline.corpus.sources.image_archive import ImageArchive
from pipeline.corpus.sources.image_folder import ImageFolder
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.registry import open_source
from pipeline.errors import InputError
from tests.unit.corpus.samples import (
    faces,
    folder_config,
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
