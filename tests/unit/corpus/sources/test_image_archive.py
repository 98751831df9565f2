import tarfile
from pathlib import Path

import pytest

from pipeline.corpus.images import ImageLimits
from pipeline.corpus.sources.image_archive import ImageArchive
from pipeline.corpus.sources.image_folder import ImageFolder
from pipeline.corpus.sources.items import Rejected
from pipeline.errors import InputError
from tests.support.lfw import lfw_folder
from tests.unit.corpus.memory import peaks
from tests.unit.corpus.samples import LIMITS, faces, png, reasons, split, write_folder, write_tar

LFW = lfw_folder() / "lfw-deepfunneled.tar"


@pytest.mark.parametrize("name", ["faces.tar", "faces.tar.gz"])
def test_archive_holds_the_same_examples_as_the_folder(tmp_path: Path, name: str) -> None:
    from_tar, _ = split(ImageArchive(write_tar(tmp_path / name, faces()), LIMITS))
    from_folder, _ = split(ImageFolder(write_folder(tmp_path / "folder", faces()), LIMITS))
    assert from_tar == from_folder


def test_archive_order_is_kept(tmp_path: Path) -> None:
    names = ["b/2.png", "a/9.png", "b/1.png"]
    items, _ = split(ImageArchive(write_tar(tmp_path / "t.tar", {name: png() for name in names}), LIMITS))
    assert [item.path for item in items] == names


def test_everything_that_is_no_image_is_rejected_with_its_reason(tmp_path: Path) -> None:
    link, hard, device, empty = (tarfile.TarInfo(f"a/{name}") for name in ("l.png", "h.png", "d.png", "none"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "a/good.png"
    device.type = tarfile.CHRTYPE
    empty.type = tarfile.DIRTYPE
    files = {
        "a/good.png": png(),
        ".DS_Store": b"x",
        "a/._good.png": b"x",
        "loose.png": png(),
        "a/big.png": png(size=300),
        "../up.png": png(),
    }
    file = write_tar(tmp_path / "t.tar", files, [link, hard, device, empty])
    items, rejected = split(ImageArchive(file, ImageLimits(100_000, 10**6)))
    assert [item.path for item in items] == ["a/good.png"]
    assert reasons(rejected) == {
        ".DS_Store": "stray_file",
        "a/._good.png": "stray_file",
        "loose.png": "stray_file",
        "a/big.png": "too_large",
        "../up.png": "stray_file",
        "a/l.png": "stray_file",
        "a/h.png": "stray_file",
        "a/d.png": "stray_file",
        "a/none": "empty_folder",
    }


def test_folder_with_content_anywhere_below_is_not_empty(tmp_path: Path) -> None:
    folders = [tarfile.TarInfo(name) for name in (".", "./root", "./root/a", "./late")]
    for folder in folders:
        folder.type = tarfile.DIRTYPE
    file = write_tar(tmp_path / "t.tar", {"./root/a/x.png": png(), "./late/y.png": png()}, folders)
    items, rejected = split(ImageArchive(file, LIMITS))
    assert [item.path for item in items] == ["root/a/x.png", "late/y.png"]
    assert rejected == []


@pytest.mark.parametrize("name", ["t.tar", "t.tar.gz"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_cut_off_archive_is_an_input_error_wherever_it_was_cut(tmp_path: Path, name: str, keep: float) -> None:
    whole = write_tar(tmp_path / name, faces(20, 3)).read_bytes()
    if name.endswith(".tar"):
        whole = whole.rstrip(b"\0")
    (tmp_path / name).write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match="cannot be read to its end"):
        list(ImageArchive(tmp_path / name, LIMITS))


def test_archive_cut_between_two_members_is_not_taken_for_a_shorter_one(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "t.tar", {"a/0.png": png(0), "a/1.png": png(1)})
    member = 512 + -(-len(png(0)) // 512) * 512
    file.write_bytes(file.read_bytes()[:member])
    with pytest.raises(InputError, match="end-of-archive"):
        list(ImageArchive(file, LIMITS))


def test_file_that_is_no_archive_is_an_input_error(tmp_path: Path) -> None:
    file = tmp_path / "t.tar"
    file.write_bytes(b"hello" * 500)
    with pytest.raises(InputError, match=r"t\.tar"):
        list(ImageArchive(file, LIMITS))


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    few, many = peaks("archive", tmp_path)
    # 2,900 headers that were kept would be 4 MB and more; Python's table of interned names may grow once, by 2 MB.
    assert many < few + 3_000_000


@pytest.mark.skipif(not LFW.is_file(), reason="LFW is not here: set MOTHERLODE_LFW to lfw-deepfunneled.tar")
def test_lfw_holds_its_published_numbers_of_people_and_images() -> None:
    num_items = 0
    labels: set[str] = set()
    rejected: list[Rejected] = []
    for entry in ImageArchive(LFW, LIMITS):
        items, bad = split([entry])
        num_items += len(items)
        labels.update(item.label for item in items)
        rejected += bad
    assert (num_items, len(labels)) == (13_233, 5_749)
    assert reasons(rejected) == {"images_deepfunneled/.DS_Store": "stray_file"}
