"""Manifests: what a published version is, what wrote it, and every part of it by size and digest."""

import platform
from importlib import metadata
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline import __version__

LAST_NUMBER = 999_999_999
_LIBRARIES = ("boto3", "faiss-cpu", "faiss-gpu-cu12", "numpy", "pillow", "pyarrow", "pydantic", "ray", "torch")

Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    # A metric may be NaN; as a string it stays valid JSON and reads back as a float.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class PartRecord(_Record):
    """One part of a published version, as its manifest records it.

    Attributes:
        role: What the part is to its readers, such as ``examples``.
        key: Its key in the store.
        num_bytes: Its size.
        num_rows: How many rows it holds; its role says what a row is.
        sha256: Digest of its bytes, hexadecimal.
    """

    role: str
    key: str
    num_bytes: Count
    num_rows: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(_Record):
    """The fields that all manifests have; each kind adds its own.

    Attributes:
        format: Version of the manifest's layout.
        number: The version's number: 0, 1, 2… or a training step.
        parent: Number of the version that it was made from, if any.
        writer: Random id of the transaction that wrote it, hexadecimal.
        created_at: When it was written, by the writer's clock (UTC, ISO 8601); for people only.
        seed: The run's seed.
        config_digest: SHA-256 of the resolved config.
        versions: Versions of Python and the libraries that wrote it.
        parts: All its parts.
    """

    format: Literal[1] = 1
    number: Annotated[int, Field(ge=0, le=LAST_NUMBER)]
    parent: Count | None
    writer: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    created_at: str
    seed: int
    config_digest: str
    versions: dict[str, str]
    parts: tuple[PartRecord, ...]

    def parts_of(self, role: str) -> tuple[PartRecord, ...]:
        """Returns the parts of one role, in the order of the manifest."""
        return tuple(part for part in self.parts if part.role == role)


def library_versions() -> dict[str, str]:
    """Returns the versions of this code, Python and those of the libraries that are installed, by name."""
    versions = {"motherlode": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
    return versions
