"""Small real inputs: encoded images, folders and archives of them, Parquet files, a corpus in a workspace."""

import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.config import CorpusConfig, GlyphsConfig, SourceConfig
from pipeline.corpus import publishing
from pipeline.corpus.images import ImageLimits
from pipeline.corpus.ingest import prepare
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import QUARANTINE, CorpusManifest, corpora, from_parquet
from pipeline.corpus.sources.items import Item, Rejected
from pipeline.storage.workspace import Workspace

LIMITS = ImageLimits(max_bytes=2**20, max_pixels=10**6)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int = 0, size: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return encode(Image.fromarray(pixels))


def faces(num_labels: int = 4, per_label: int = 3) -> dict[str, bytes]:
    """File contents by path: ``person_0/0.png`` and so on, all different."""
    return {
        f"person_{label}/{i}.png": png(seed=100 * label + i) for label in range(num_labels) for i in range(per_label)
    }


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return root


def write_tar(file: Path, files: Mapping[str, bytes], extra: Iterable[tarfile.TarInfo] = ()) -> Path:
    with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return file


def write_vectors(file: Path, vectors: Any, labels: Any, **columns: Any) -> Path:  # noqa: ANN401
    ids = columns.pop("id", None) or list(range(len(labels)))
    pq.write_table(pa.table({"id": ids, "label": labels, "vector": vectors, **columns}), file)
    return file


def split(entries: Iterable[Item | Rejected]) -> tuple[list[Item], list[Rejected]]:
    items: list[Item] = []
    rejected: list[Rejected] = []
    for entry in entries:
        if isinstance(entry, Item):
            items.append(entry)
        else:
            rejected.append(entry)
    return items, rejected


def reasons(rejected: Iterable[Rejected]) -> dict[str, str]:
    """Reason by path."""
    return {entry.path: entry.reason for entry in rejected}


def folder_config(path: Path, **options: Any) -> CorpusConfig:  # noqa: ANN401
    options.setdefault("test_fraction", 0.0)
    return CorpusConfig(source=SourceConfig(kind="image_folder", path=str(path)), **options)


def parquet_config(path: Path, **options: Any) -> CorpusConfig:  # noqa: ANN401
    options.setdefault("test_fraction", 0.0)
    return CorpusConfig(source=SourceConfig(kind="parquet", path=str(path)), **options)


def quarantined(workspace: Workspace, number: int = 0) -> list[dict[str, str]]:
    """The rows of a corpus's quarantine."""
    dataset = corpora(workspace)
    parts = dataset.read(number).parts_of(QUARANTINE)
    rows: list[dict[str, str]] = pa.concat_tables(from_parquet(dataset.read_part(part)) for part in parts).to_pylist()
    return rows


def run_prepare(config: CorpusConfig, workspace: Workspace, again: bool = False) -> tuple[CorpusManifest, bool]:
    return prepare(config, workspace, seed=7, config_digest="c" * 64, again=again)


def overtake(monkeypatch: pytest.MonkeyPatch, publish: Callable[[], CorpusManifest]) -> list[CorpusManifest]:
    """Lets another one publish just before the next commit; what it has published is in the list then."""
    check, published = publishing.check_usable, list[CorpusManifest]()

    def overtaken(*args: object) -> None:
        monkeypatch.setattr(publishing, "check_usable", check)
        published.append(publish())

    monkeypatch.setattr(publishing, "check_usable", overtaken)
    return published


def glyph_corpus(workspace: Workspace, max_labels: int, test_fraction: float = 0.0) -> Corpus:
    """Two small drawings of each of some characters."""
    source = SourceConfig(glyphs=GlyphsConfig(max_labels=max_labels, max_faces=2, image_size=16))
    run_prepare(CorpusConfig(source=source, test_fraction=test_fraction), workspace)
    return Corpus.open(workspace)


def make_corpus(tmp_path: Path, config: CorpusConfig) -> Corpus:
    workspace = Workspace.open(str(tmp_path / "workspace"), "main")
    run_prepare(config, workspace)
    return Corpus.open(workspace)
