"""Where examples come from, and how a payload becomes an input."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.base import ConfigPart, Fraction, PositiveInt, Seed


class GlyphsConfig(ConfigPart):
    """The embedded corpus: characters drawn from the fonts that matplotlib ships."""

    min_faces: PositiveInt = 10
    """Characters that fewer fonts can draw are left out."""
    max_faces: PositiveInt = 12
    """At most this many fonts (chosen by seed) are drawn for a character."""
    max_labels: PositiveInt | None = None
    """Keep only this many characters (chosen by seed, before any are merged); all by default."""
    merge_identical: bool = False
    """Characters that most of their shared fonts draw alike, pixel for pixel (A, Greek Alpha), become one label."""
    image_size: Annotated[int, Field(ge=16, le=256)] = 32
    """Side of the square grey image in pixels."""
    seed: Seed = 0
    """Seeds shift, rotation, blur and noise of every image."""


class SourceConfig(ConfigPart):
    """Where the examples come from."""

    kind: Literal["glyphs", "image_folder", "parquet"] = "glyphs"
    """glyphs: drawn here; image_folder: a folder (or .tar) of one folder a label; parquet: the corpus schema."""
    path: str | None = None
    """The folder, the .tar, or the Parquet file or folder; unused by glyphs."""
    glyphs: GlyphsConfig = GlyphsConfig()

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        if (self.path is None) != (self.kind == "glyphs"):
            need = "takes no path" if self.kind == "glyphs" else "needs a path: set corpus.source.path"
            raise ValueError(f"source kind {self.kind!r} {need}")
        return self


class CorpusConfig(ConfigPart):
    """How examples become a corpus."""

    source: SourceConfig = SourceConfig()
    examples_per_part: PositiveInt = 2048
    """At most so many examples a Parquet part; a part is also the unit of work of the embed stage."""
    test_fraction: Fraction = 0.2
    """Share of the labels (by a hash of their name) that is kept for evaluation and never mined or trained on."""
    test_people: str | None = None
    """Keep the people listed in this file (in the format of LFW's people.txt) instead of a share by hash."""
    test_sets: tuple[PositiveInt, ...] | None = None
    """Which sets of test_people are kept, counted from 1; null: all."""
    max_image_bytes: PositiveInt = 32 * 2**20
    """Larger encoded images go to the quarantine."""
    max_image_pixels: PositiveInt = 64 * 10**6
    """Images with more pixels go to the quarantine before they are decoded."""

    @model_validator(mode="after")
    def _sets_of_a_list(self) -> Self:
        if self.test_sets is not None and self.test_people is None:
            raise ValueError("corpus.test_sets chooses sets of corpus.test_people: set that too")
        return self


def _as_number(value: object) -> object:
    """A command line gives text, which a Literal of numbers does not take."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class TransformConfig(ConfigPart):
    """Preprocessing of a payload before the encoder; part of the embeddings' cache key."""

    height: PositiveInt = 32
    width: PositiveInt = 32
    channels: Annotated[Literal[1, 3], BeforeValidator(_as_number)] = 1
    """1: grey, 3: RGB."""
    crop: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Central share of each side that is kept before resizing (faces in LFW fill about the middle half)."""
