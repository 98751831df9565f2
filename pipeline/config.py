"""The configuration of a run: one frozen pydantic model, checked as a whole before anything starts.

Constraints live in ``Field``; rules that span several fields live in validators. Units are part of a name
(``timeout_s``). Only ``jobs/`` reads files, command lines and the environment.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class ConfigPart(BaseModel):
    """Base of all parts: unknown keys are errors, values never change after validation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def digest(self) -> str:
        """SHA-256 over the canonical JSON of this part: equal settings, equal digest."""
        document = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()


class GlyphsConfig(ConfigPart):
    """The embedded corpus: characters drawn from the fonts that matplotlib ships."""

    min_faces: PositiveInt = 10
    """Characters that fewer fonts can draw are left out."""
    max_faces: PositiveInt = 12
    """At most this many fonts (chosen by seed) are drawn for a character."""
    max_labels: PositiveInt | None = None
    """Keep only this many characters (chosen by seed); all by default."""
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
    max_image_bytes: PositiveInt = 32 * 2**20
    """Larger encoded images go to the quarantine."""
    max_image_pixels: PositiveInt = 64 * 10**6
    """Images with more pixels go to the quarantine before they are decoded."""


class TransformConfig(ConfigPart):
    """Preprocessing of a payload before the encoder; part of the embeddings' cache key."""

    height: PositiveInt = 32
    width: PositiveInt = 32
    channels: Literal[1, 3] = 1
    """1: grey, 3: RGB."""
    crop: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Central share of each side that is kept before resizing (faces in LFW fill about the middle half)."""


class EncoderConfig(ConfigPart):
    """The network."""

    name: str = "small_cnn"
    """A registered name, or an import path `package.module:Class` of an nn.Module."""
    embedding_dim: PositiveInt = 128
    """Length D of the L2-normalised output."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for the network's constructor."""


class EmbedConfig(ConfigPart):
    """How the corpus is encoded."""

    batch_size: PositiveInt = 256
    dtype: Literal["float32", "float16"] = "float32"
    """What embeddings are stored as; mining computes from the stored values."""


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


class BatchConfig(ConfigPart):
    """A training batch: cliques of look-alike labels beside random ones."""

    num_labels: Annotated[int, Field(ge=2)] = 45
    images_per_label: Annotated[int, Field(ge=2)] = 4
    clique_size: PositiveInt = 3
    """Labels in a clique: one and its nearest mined neighbours."""
    random_share: Fraction = 0.5
    """Share of the labels of a batch drawn at random instead of in cliques."""

    @property
    def num_images(self) -> int:
        """Images forwarded a step, over all workers."""
        return self.num_labels * self.images_per_label


class OptimiserConfig(ConfigPart):
    """The optimiser."""

    name: Literal["adamw", "sgd", "adagrad"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the rate rises linearly from 0."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """cosine: falls to 0 at training.num_steps."""


class TrainingConfig(ConfigPart):
    """The training run."""

    source: Literal["mined", "online", "random"] = "mined"
    """mined: neighbourhoods of the pinned generation; online: FaceNet's in-batch mining; random: random triplets."""
    mode: Literal["alternate", "overlap"] = "alternate"
    """alternate: wait for the generation mined from each checkpoint; overlap: go on and swap when one appears."""
    num_steps: PositiveInt = 1500
    steps_per_round: PositiveInt = 300
    """A checkpoint is published, and the corpus re-mined, every so many steps."""
    margin: Annotated[float, Field(gt=0.0, le=4.0)] = 0.2
    """alpha of the triplet loss, on squared distances."""
    selection: Literal["semi_hard", "band", "all"] = "semi_hard"
    """Which triplets of a mined batch count. semi_hard: every positive pair with its nearest negative beyond the
    positive; band: every triplet with d_ap < d_an < d_ap + margin; all: every triplet."""
    batch: BatchConfig = BatchConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    device: Literal["cpu", "cuda"] = "cpu"
    num_workers: PositiveInt = 1
    """DDP processes; they share each batch."""
    threads_per_worker: PositiveInt = 2
    decode_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that decode ahead, for each training worker; 0 decodes in line."""
    generation_timeout_s: Annotated[float, Field(gt=0.0)] = 86400.0
    """How long to wait for a generation to be mined before giving up."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """How often dead workers are replaced; training goes on from the newest checkpoint."""

    @model_validator(mode="after")
    def _workers_share_a_batch(self) -> Self:
        if self.num_workers > self.batch.num_images:
            raise ValueError(f"training.num_workers {self.num_workers} is more than a batch has images")
        return self


class EvaluationConfig(ConfigPart):
    """What `evaluate` measures on the test labels."""

    fars: Annotated[tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...], Field(min_length=1)] = (1e-3, 1e-2)
    """False accept rates at which VAL is reported."""
    max_pairs: Annotated[int, Field(ge=1000)] = 2_000_000
    """Negative (and positive) pairs sampled, by seed, where there are more."""


class ClusterConfig(ConfigPart):
    """Where and how wide the stages run.

    Shards, blocks and actors change no triplet, unless an approximate index mines them. The actors' device and number
    of threads may change the last bits of an embedding, and so belong to its cache key.
    """

    address: str | None = None
    """`local` starts Ray here; `auto` or HOST:PORT joins a cluster; unset: $RAY_ADDRESS, else local."""
    num_actors: PositiveInt = 2
    cpus_per_actor: Annotated[float, Field(ge=0.0)] = 0.5
    gpus_per_actor: Annotated[float, Field(ge=0.0)] = 0.0
    threads_per_actor: PositiveInt = 1
    cpus_per_trainer: Annotated[float, Field(ge=0.0)] = 1.0
    gpus_per_trainer: Annotated[float, Field(ge=0.0)] = 0.0
    num_shards: PositiveInt | None = None
    """Shards of the corpus that are scanned apart and merged; null: one for each GPU, or as many as keep one below
    64 MB on CPUs."""
    anchors_per_block: PositiveInt = 4096
    max_task_retries: Annotated[int, Field(ge=0)] = 3
    """How often a part is given to a fresh actor after the one that held it died."""
    stall_timeout_s: Annotated[float, Field(gt=0.0)] = 600.0
    """No part finished for so long: the stage fails instead of hanging."""
    cache_dir: str | None = None
    """Local folder for copies of the corpus; a folder in the system's temporary one by default."""

    @property
    def actor_device(self) -> Literal["cpu", "cuda"]:
        """Where the actors of a refresh encode."""
        return "cuda" if self.gpus_per_actor > 0 else "cpu"


class RunConfig(ConfigPart):
    """Everything that a job needs to know."""

    workspace: str = "workspace"
    """A local folder or s3://bucket/prefix that holds corpus, embeddings, checkpoints and generations."""
    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "main"
    """Name of a training run; runs in one workspace share the corpus."""
    seed: Seed = 0
    corpus: CorpusConfig = CorpusConfig()
    transform: TransformConfig = TransformConfig()
    encoder: EncoderConfig = EncoderConfig()
    embed: EmbedConfig = EmbedConfig()
    mining: MiningConfig = MiningConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    cluster: ClusterConfig = ClusterConfig()

    @model_validator(mode="after")
    def _gpu_scans_have_a_gpu(self) -> Self:
        if self.mining.backend == "triton" and self.cluster.gpus_per_actor == 0:
            raise ValueError(
                "mining.backend triton runs on a GPU: set cluster.gpus_per_actor to 1 (or a part of it), or choose "
                "backend native"
            )
        return self

    @model_validator(mode="after")
    def _trainers_reserve_the_gpu_they_use(self) -> Self:
        if (self.training.device == "cuda") != (self.cluster.gpus_per_trainer > 0):
            raise ValueError(
                f"training.device {self.training.device!r} does not go with cluster.gpus_per_trainer "
                f"{self.cluster.gpus_per_trainer:g}: set device cuda and reserve a GPU (or part of one), or neither"
            )
        return self
