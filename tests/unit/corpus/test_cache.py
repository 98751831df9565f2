import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.corpus.cache import ExampleCache, cache_root
from pipeline.corpus.reader import Corpus
from pipeline.errors import InputError, UnavailableError
from tests.unit.corpus.samples import faces, folder_config, make_corpus, write_folder


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    folder = write_folder(tmp_path / "faces", faces())
    return make_corpus(tmp_path, folder_config(folder, examples_per_part=5))


def check(cache: ExampleCache) -> None:
    assert [cache.content(i) for i in range(12)] == list(faces().values())


def part_files(cache: ExampleCache) -> list[Path]:
    return [cache.folder / f"part-{part:05d}.arrow" for part in range(3)]


def test_images_come_back_by_example_id(corpus: Corpus, tmp_path: Path) -> None:
    cache = ExampleCache(corpus, tmp_path / "cache")
    check(cache)
    assert cache.folder == tmp_path / "cache" / corpus.fingerprint[:16]
    assert sorted(cache.folder.iterdir()) == part_files(cache)


def test_only_the_parts_that_are_asked_for_are_written(corpus: Corpus, tmp_path: Path) -> None:
    cache = ExampleCache(corpus, tmp_path / "cache")
    cache.content(6)
    assert [file.exists() for file in part_files(cache)] == [False, True, False]
    cache.build()
    assert [file.exists() for file in part_files(cache)] == [True, True, True]


def test_built_cache_is_read_without_the_corpus(corpus: Corpus, tmp_path: Path) -> None:
    ExampleCache(corpus, tmp_path / "cache").build()
    for part in corpus.manifest.parts_of("examples"):
        (tmp_path / "workspace" / part.key).unlink()
    check(ExampleCache(corpus, tmp_path / "cache"))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_cut_off_file_is_written_again(corpus: Corpus, tmp_path: Path, keep: float) -> None:
    cache = ExampleCache(corpus, tmp_path / "cache")
    cache.build()
    for file in part_files(cache):
        content = file.read_bytes()
        file.write_bytes(content[: int(keep * len(content))])
    check(ExampleCache(corpus, tmp_path / "cache"))


def test_foreign_file_is_written_again(corpus: Corpus, tmp_path: Path) -> None:
    cache = ExampleCache(corpus, tmp_path / "cache")
    cache.build()
    first, second, third = part_files(cache)
    first.write_bytes(second.read_bytes())  # as many rows, but of another part
    payloads = pa.array([b"x", b"y"])
    with pa.ipc.new_file(str(third), pa.schema([("payload", pa.binary())])) as writer:
        writer.write_batch(pa.record_batch([payloads], names=["payload"]))
    check(ExampleCache(corpus, tmp_path / "cache"))


def test_default_folder_is_this_users_alone(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    check(ExampleCache(corpus))
    folder = tmp_path / "tmp" / f"motherlode-cache-{os.getuid()}"
    assert cache_root(None) == folder
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["link", "open to all"])
def test_default_folder_that_others_could_fill_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"motherlode-cache-{os.getuid()}"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(InputError, match="not a folder of this user alone"):
        cache_root(None)


def test_folder_that_cannot_be_made_is_unavailable_and_names_the_setting(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match=r"cluster\.cache_dir"):
        ExampleCache(corpus, tmp_path / "file")
