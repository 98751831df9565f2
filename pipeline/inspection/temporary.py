"""Temporary files, and the error where there is no space for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UnavailableError


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Turns an OSError inside the block, which writes a temporary file, into an UnavailableError."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{file} cannot be written ({error.strerror or error}): make room, or set TMPDIR to a folder that has it"
        ) from error
