"""From the config to the source of examples that it names."""

from collections.abc import Callable
from pathlib import Path

from pipeline.config import CorpusConfig
from pipeline.corpus.images import ImageLimits
from pipeline.corpus.sources import image_archive
from pipeline.corpus.sources.glyphs import Glyphs
from pipeline.corpus.sources.image_archive import ImageArchive
from pipeline.corpus.sources.image_folder import ImageFolder
from pipeline.corpus.sources.items import Source
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.errors import InputError


def open_source(config: CorpusConfig) -> Source:
    """Opens the source of a corpus, without reading its examples.

    Raises:
        InputError: The path is missing, or is not what the source's kind needs.
    """
    return SOURCES[config.source.kind](config)


def _path_and_limits(config: CorpusConfig) -> tuple[Path, ImageLimits]:
    assert config.source.path is not None, "the config asks for a path where the kind needs one"
    path = Path(config.source.path).expanduser()
    if not path.exists():
        raise InputError(f"corpus.source.path {path} does not exist: correct the path or put the data there")
    return path, ImageLimits(config.max_image_bytes, config.max_image_pixels)


def _open_images(path: Path, limits: ImageLimits) -> Source:
    if path.is_dir():
        return ImageFolder(path, limits)
    if path.name.lower().endswith(image_archive.SUFFIXES):
        return ImageArchive(path, limits)
    raise InputError(
        f"corpus.source.path {path} is neither a folder nor a {', '.join(image_archive.SUFFIXES)} archive: "
        f"give a folder of one folder a label, or such a folder in an archive"
    )


SOURCES: dict[str, Callable[[CorpusConfig], Source]] = {
    "glyphs": lambda config: Glyphs(config.source.glyphs),
    "image_folder": lambda config: _open_images(*_path_and_limits(config)),
    "parquet": lambda config: ParquetSource(*_path_and_limits(config)),
}
