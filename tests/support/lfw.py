"""Labeled Faces in the Wild, for the tests that want it."""

import os
from pathlib import Path

import pytest


def lfw_folder() -> Path:
    """The folder of the official files: $MOTHERLODE_LFW or, where that is the archive, the folder that it is in."""
    default = Path(__file__).parents[3] / "shared" / "data" / "lfw"
    path = Path(os.environ.get("MOTHERLODE_LFW", default))
    return path if path.is_dir() else path.parent


needs_lfw_files = pytest.mark.skipif(
    not (lfw_folder() / "pairs.txt").is_file(),
    reason="LFW's official files are not here: set MOTHERLODE_LFW to their folder",
)
