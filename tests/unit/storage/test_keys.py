from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.storage.keys import folder_of, validate_key

SEGMENTS = st.lists(st.sampled_from(["a", "..", ".", "", "b.json", ".tmp-1", "ünï"]), max_size=4)


@given(SEGMENTS.map("/".join) | st.text(max_size=20))
def test_an_accepted_key_is_a_plain_relative_path(key: str) -> None:
    try:
        validate_key(key)
    except InputError:
        return
    path = PurePosixPath(key)
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert str(path) == key, "no two keys may name the same file"
    assert key != "."


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\0b", "a/.tmp-1"])
def test_keys_that_could_leave_the_root_or_meet_a_temporary_file_are_refused(key: str) -> None:
    with pytest.raises(InputError, match="object key"):
        validate_key(key)


def test_a_listing_prefix_is_a_folder_or_everything() -> None:
    assert (folder_of(""), folder_of("a/b"), folder_of("a/b/")) == ("", "a/b/", "a/b/")
    with pytest.raises(InputError):
        folder_of("a/../b")
