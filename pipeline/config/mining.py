"""What is mined."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import ConfigPart, Fraction, PositiveInt


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


class AuditConfig(ConfigPart):
    """What is looked at before a generation is published: what refuses it, and what comes into its quarantine.

    A refused generation leaves the one before in force. Suspects are looked for among the nearest neighbours of every
    training example, which the scan that mines finds in one more pass.
    """

    min_spread: Annotated[float, Field(ge=0.0)] = 1e-4
    """Refuse embeddings with a mean squared distance to their centroid below this: a collapsed encoder."""
    min_effective_rank: Annotated[float, Field(ge=0.0)] = 1.5
    """Refuse embeddings that lie in fewer directions than this (four labels or more cannot be told apart on a line)."""
    max_broken_share: Fraction = 0.01
    """Refuse where more than this share of the embeddings is NaN, infinite or zero: the encoder has diverged."""
    min_yield: Fraction = 0.0
    """Refuse where less than this share of the pairs has a negative in its band; 0: an empty generation is published,
    with a warning, as a band may rightly run dry."""
    quarantine: Literal["report", "exclude"] = "report"
    """What is done about suspects: report lists them; exclude also mines without them: a label-noise suspect plays no
    role at all, a suspicious negative is not mined for its anchor, a hub is the negative of no more than its cap."""
    num_neighbours: Annotated[int, Field(ge=0, le=64)] = 10
    """So many of the nearest examples of other labels are looked at, beside the nearest of the own one; 0 looks for no
    suspects among neighbours."""
    min_label_noise: Fraction = 0.5
    """label_noise_suspect: another label's two nearest examples are closer than its own label's by more than this
    share of their squared distance."""
    near_duplicate_share: Fraction = 0.01
    """near_duplicate_across_labels: a squared distance at or below this share of the embeddings' spread."""
    closer_than_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """false_negative_suspect: a negative that is closer than this share of the anchor's positives."""
    max_hub_factor: Annotated[float, Field(ge=1.0)] | None = 20.0
    """hub: an example that is the negative of more than so many times the triplets of the mean negative; null: none."""
    max_rows_per_reason: PositiveInt = 100_000
    """Of a reason that is only reported, the quarantine lists so many, the most suspect; the manifest counts all."""


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
    audit: AuditConfig = AuditConfig()

    @property
    def starts_warm(self) -> bool:
        """Whether a search begins from what the generation before knew."""
        return self.candidate_fraction < 1.0 if self.warm_start is None else self.warm_start
