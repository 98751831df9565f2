"""What is mined."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import ConfigPart, PositiveInt


class PositivesConfig(ConfigPart):
    """Which positives an anchor is paired with."""

    policy: Literal["all", "hardest", "easiest", "random"] = "all"
    num_per_anchor: PositiveInt = 1
    """How many the policies hardest (argmax of d_ap), easiest and random take."""
    max_per_anchor: PositiveInt | None = 32
    """Cap for the policy all: a seeded random subset where a label has more; null for none."""


class BandConfig(ConfigPart):
    """The interval of d_an, as a function of d_ap, in which a negative is wanted (squared L2 distances)."""

    mode: Literal["hard", "semi_hard", "positive_aware", "range"] = "semi_hard"
    margin: Annotated[float, Field(gt=0.0, le=4.0)] = 0.2
    """semi_hard: d_ap < d_an < d_ap + margin (FaceNet's alpha)."""
    ratio: Annotated[float, Field(gt=0.0)] = 1.0
    """positive_aware: d_an > ratio * d_ap + offset."""
    offset: Annotated[float, Field(ge=0.0, le=4.0)] = 0.0
    """positive_aware: see ratio."""
    low: Annotated[float, Field(ge=0.0, le=4.0)] = 0.0
    """range: low < d_an < high."""
    high: Annotated[float, Field(gt=0.0, le=5.0)] = 4.0
    """range: see low."""

    @model_validator(mode="after")
    def _range_not_empty(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"band.low ({self.low}) must be below band.high ({self.high})")
        return self


class IndexConfig(ConfigPart):
    """The index of the backend `faiss`: an index proposes, the scan answers what it cannot."""

    factory: str = "Flat"
    """FAISS's index factory string: Flat, IVF4096,Flat, IVF4096,PQ32, HNSW32, …; CAGRA where faiss has cuVS."""
    num_neighbours: PositiveInt = 64
    """How many neighbours are listed for an anchor, beyond its own label's examples and the negatives wanted."""
    nprobe: PositiveInt = 32
    """IVF: how many cells are looked into."""


class MiningConfig(ConfigPart):
    """What is mined. Everything here shapes what is published, and so belongs to a generation's key."""

    backend: Literal["auto", "reference", "native", "triton", "faiss"] = "auto"
    """reference: exact scan in NumPy; native: exact scan in C (CPU); triton: exact scan on a GPU; faiss: candidates
    from an index, the rest by the scan; auto: triton where actors have GPUs, else native where it was built, else
    reference."""
    index: IndexConfig = IndexConfig()
    candidate_fraction: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Scan only this share of the candidates, drawn anew by seed and step: exact for them, of expected rank
    1/fraction among all."""
    warm_start: bool | None = None
    """Begin from the previous generation's negatives, scored again: better triplets where candidates are sampled, the
    same where all are scanned; null: where candidates are sampled."""
    verify_anchors: Annotated[int, Field(ge=0)] = 64
    """So many anchors are answered by float64 brute force too; the agreement goes into the manifest."""
    positives: PositivesConfig = PositivesConfig()
    band: BandConfig = BandConfig()
    negatives_per_pair: Annotated[int, Field(ge=1, le=1024)] = 1
    neighbours_per_label: PositiveInt = 16
    """Rows that the neighbours table keeps for a label."""
    rows_per_shard: PositiveInt = 2**20
    """Triplets a Parquet shard."""
    min_spread: Annotated[float, Field(ge=0.0)] = 1e-4
    """Audit: a mean squared distance to the centroid below this is a collapsed encoder, and refused."""

    @property
    def starts_warm(self) -> bool:
        """Whether a search begins from what the generation before knew."""
        return self.candidate_fraction < 1.0 if self.warm_start is None else self.warm_start
