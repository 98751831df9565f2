"""Temporary files: what is said when there is no room for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UnavailableError


@contextmanager
def room_for(file: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write a temporary file into a sentence."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{file} cannot be written ({error.strerror or error}): make room, or set TMPDIR to a folder that has it"
        ) from error
