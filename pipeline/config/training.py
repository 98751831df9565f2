"""How the encoder is trained."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import ConfigPart, Fraction, PositiveInt
from pipeline.config.mining import BandConfig

Selection = Literal["semi_hard", "hard", "positive_aware", "band", "all"]
Rate = Annotated[float, Field(gt=0.0)]


class BatchConfig(ConfigPart):
    """A training batch: cliques of look-alike labels beside random ones."""

    num_labels: Annotated[int, Field(ge=2)] = 45
    images_per_label: Annotated[int, Field(ge=2)] = 4
    clique_size: PositiveInt = 5
    """Labels in a clique: one and its nearest mined neighbours."""
    random_share: Fraction = 0.0
    """Share of the labels of a batch drawn at random instead of in cliques."""
    previous_share: Fraction = 0.0
    """Share of the cliques drawn from the generation before, so that a refresh does not change everything at once."""
    in_batch_share: Fraction = 0.0
    """Share of the steps whose whole batch is random labels, mined within the batch (FaceNet's online way)."""

    @property
    def num_images(self) -> int:
        """Images forwarded a step, over all workers."""
        return self.num_labels * self.images_per_label


class CurriculumStage(ConfigPart):
    """What changes from a step on. A stage takes effect with the first round that begins at or after its step."""

    from_step: Annotated[int, Field(ge=0)]
    band: BandConfig | None = None
    """Replaces mining.band; null: as before."""
    selection: Selection | None = None
    """Replaces training.selection; null: as before."""
    clique_size: PositiveInt | None = None
    """Replaces training.batch.clique_size; null: as before."""
    random_share: Fraction | None = None
    """Replaces training.batch.random_share; null: as before."""


class LossConfig(ConfigPart):
    """The loss of a triplet, as a function of its two squared distances."""

    name: str = "hinge"
    """hinge: [d_ap - d_an + margin]+ (FaceNet); soft_margin: ln(1 + exp(d_ap - d_an)); selectively_contrastive: pushes
    hard negatives apart without pulling their positives; or an import path `package.module:function`."""
    margin: Annotated[float, Field(gt=0.0, le=4.0)] = 0.2
    """FaceNet's alpha, on squared distances; also the margin below which a triplet counts as active."""
    temperature: Rate = 0.1
    """selectively_contrastive: of the softmax over the two similarities."""
    hard_weight: Rate = 1.0
    """selectively_contrastive: lambda, the weight of a hard negative's similarity."""


class OptimiserConfig(ConfigPart):
    """The optimiser."""

    name: Literal["adamw", "adam", "sgd", "adagrad"] = "adamw"
    learning_rate: Rate = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """sgd."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the rate rises linearly from 0."""
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    """cosine: falls to 0 at training.num_steps; plateau: times plateau_factor whenever the active share of a round has
    not fallen for plateau_rounds rounds."""
    plateau_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    plateau_rounds: PositiveInt = 2


class StalenessConfig(ConfigPart):
    """How the trainer measures what its generation is still worth, and when that calls for a refresh."""

    num_triplets: Annotated[int, Field(ge=0)] = 256
    """Listed triplets, drawn by seed, that are scored again under the current weights; 0 measures nothing."""
    check_every_steps: PositiveInt | None = None
    """How often they are scored; null: at the end of each round."""
    min_active_share: Fraction = 0.0
    """A smaller share with d_ap - d_an + margin > 0 ends the round: a checkpoint is published, and mined from."""
    min_in_band_share: Fraction = 0.0
    """A smaller share whose negative is still inside mining.band ends the round."""

    @property
    def decides(self) -> bool:
        """Whether staleness may end a round."""
        return self.num_triplets > 0 and max(self.min_active_share, self.min_in_band_share) > 0.0

    @model_validator(mode="after")
    def _thresholds_are_looked_at(self) -> Self:
        if self.decides and self.check_every_steps is None:
            raise ValueError(
                "training.staleness: min_active_share and min_in_band_share end a round early only with "
                "check_every_steps: set it"
            )
        return self


class AugmentConfig(ConfigPart):
    """Random changes of training images, drawn anew at each step; mining and evaluation see images as they are."""

    mirror: Fraction = 0.0
    """Chance that an image is mirrored."""
    shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Largest shift, as a share of each side."""
    light: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Largest change of contrast (as a factor) and of brightness (as a share of half the range)."""
    cover: Fraction = 0.0
    """Chance that a rectangle of the image is greyed."""

    @property
    def changes(self) -> bool:
        """Whether anything is changed at all."""
        return any((self.mirror, self.shift, self.light, self.cover))


class TrainingConfig(ConfigPart):
    """The training run."""

    source: Literal["mined", "listed", "online", "random"] = "mined"
    """mined: neighbourhoods of the generation; listed: its triplets one by one, three images each; online: FaceNet's
    in-batch mining; random: random triplets."""
    mode: Literal["alternate", "overlap"] = "alternate"
    """alternate: wait for the generation mined from each checkpoint; overlap: never wait, swap when one appears."""
    num_steps: PositiveInt = 1500
    steps_per_round: PositiveInt = 300
    """A checkpoint is published, and the corpus re-mined, at the latest after so many steps."""
    loss: LossConfig = LossConfig()
    selection: Selection = "semi_hard"
    """Which triplets of a batch count. semi_hard: every positive pair with its nearest negative beyond the positive;
    hard: with its nearest negative; positive_aware: with its nearest beyond mining.band's ratio and offset; band: every
    triplet with d_ap < d_an < d_ap + margin; all: every triplet."""
    batch: BatchConfig = BatchConfig()
    curriculum: tuple[CurriculumStage, ...] = ()
    """Stages in order of their steps; each changes what it names until a later one does."""
    staleness: StalenessConfig = StalenessConfig()
    augment: AugmentConfig = AugmentConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    frozen: tuple[str, ...] = ()
    """Names (or first parts) of encoder modules that are not trained: their weights and statistics stay."""
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: the forward pass runs in mixed precision (autocast); weights, loss and optimiser stay float32."""
    compile: bool = False
    """Compile the encoder with torch.compile; on a CPU that needs a C++ compiler."""
    channels_last: bool = False
    """Lay images out channels last, which convolutions prefer; the built-in networks do so themselves."""
    images_per_forward: PositiveInt | None = None
    """Forward a worker's images in pieces of so many, and accumulate their gradients: the loss still sees every triplet
    of the batch, for one more forward pass and a fraction of the memory; null: all at once."""
    num_workers: PositiveInt = 1
    """DDP processes; they share each batch."""
    threads_per_worker: PositiveInt = 2
    decode_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that decode ahead, for each training worker; 0 decodes in line."""
    generation_timeout_s: Rate = 86400.0
    """How long to wait for a generation to be mined before giving up."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """How often dead workers are replaced; training goes on from the newest checkpoint."""
    min_spread: Annotated[float, Field(ge=0.0)] = 1e-3
    """Training that has made one point of all embeddings (mean squared distance to a batch's centroid below this) is
    stopped; the last good checkpoint stays."""

    @model_validator(mode="after")
    def _workers_share_a_batch(self) -> Self:
        if self.num_workers > self.batch.num_images:
            raise ValueError(f"training.num_workers {self.num_workers} is more than a batch has images")
        return self

    @model_validator(mode="after")
    def _curriculum_ascends(self) -> Self:
        steps = [stage.from_step for stage in self.curriculum]
        if steps != sorted(set(steps)):
            raise ValueError(f"training.curriculum: the stages' from_step {steps} must ascend")
        return self
