import os
from pathlib import Path

import pytest

from pipeline.corpus.images import ImageLimits
from pipeline.corpus.sources.image_folder import ImageFolder
from tests.unit.corpus.samples import LIMITS, faces, png, reasons, split, write_folder


def test_label_is_the_name_of_the_parent_folder_and_order_is_sorted(tmp_path: Path) -> None:
    write_folder(tmp_path, dict(reversed(faces(2, 2).items())) | {"deep/er/z.JPG": png(9)})
    items, rejected = split(ImageFolder(tmp_path, LIMITS))
    assert [(item.label, item.path) for item in items] == [
        ("er", "deep/er/z.JPG"),
        ("person_0", "person_0/0.png"),
        ("person_0", "person_0/1.png"),
        ("person_1", "person_1/0.png"),
        ("person_1", "person_1/1.png"),
    ]
    assert items[1].content == faces(2, 2)["person_0/0.png"]
    assert rejected == []


def test_everything_that_is_no_image_is_rejected_with_its_reason(tmp_path: Path) -> None:
    write_folder(
        tmp_path,
        {
            "a/good.png": png(),
            "a/.DS_Store": b"x",
            "a/._good.png": b"x",
            "a/notes.txt": b"x",
            "a/broken.jpg": b"x",
            "a/big.png": png(size=300),
            "loose.png": png(),
        },
    )
    (tmp_path / "nobody").mkdir()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    items, rejected = split(ImageFolder(tmp_path, ImageLimits(max_bytes=100_000, max_pixels=10**6)))
    assert [item.path for item in items] == ["a/good.png"]
    assert reasons(rejected) == {
        "a/.DS_Store": "stray_file",
        "a/._good.png": "stray_file",
        "a/notes.txt": "stray_file",
        "a/broken.jpg": "undecodable",
        "a/big.png": "too_large",
        "a/loop": "stray_file",
        "a/pipe.png": "stray_file",
        "loose.png": "stray_file",
        "nobody": "empty_folder",
    }


def test_links_to_image_files_are_followed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/good.png": png(), "b/good.png": png()})
    (tmp_path / "b" / "link.png").symlink_to(tmp_path / "a" / "good.png")
    (tmp_path / "b" / "gone.png").symlink_to(tmp_path / "a" / "missing.png")
    items, rejected = split(ImageFolder(tmp_path, LIMITS))
    assert "b/link.png" in [item.path for item in items]
    assert reasons(rejected) == {"b/gone.png": "stray_file"}


def test_name_that_is_not_utf8_is_rejected_and_printable(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "a")
    Path(os.fsdecode(folder)).mkdir()
    try:
        Path(os.fsdecode(folder + b"/\xff.png")).write_bytes(png())
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    items, rejected = split(ImageFolder(tmp_path, LIMITS))
    assert items == []
    assert [(entry.path, entry.reason) for entry in rejected] == [("a/\\xff.png", "stray_file")]


def test_empty_root_yields_nothing(tmp_path: Path) -> None:
    assert list(ImageFolder(tmp_path, LIMITS)) == []
