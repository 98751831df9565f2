"""A disk that can be filled: a small tmpfs, which takes the right to mount one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DISK_BYTES = 2 << 20
MOUNT = ("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=1777", "tmpfs")


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of 2 MiB; skips the test where it cannot be had."""
    place.mkdir()
    as_root = [] if os.geteuid() == 0 or shutil.which("sudo") is None else ["sudo", "--non-interactive"]
    mounted = subprocess.run([*as_root, *MOUNT, place], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([*as_root, "umount", "--lazy", place], check=True)


def fill(disk: Path, num_bytes_left: int) -> Path:
    """Leaves so little room; returns what takes up the rest."""
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - num_bytes_left))
    print(f"{shutil.disk_usage(disk).free} bytes are left in {disk}")
    return ballast
