"""A whole run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import RUN_NAME, ConfigPart, PositiveInt, Seed
from pipeline.config.corpus import CorpusConfig, TransformConfig
from pipeline.config.encoder import EmbedConfig, EncoderConfig
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.harmonic import HarmonicConfig
from pipeline.config.mining import MiningConfig
from pipeline.config.observe import ObserveConfig
from pipeline.config.retention import RetentionConfig
from pipeline.config.training import TrainingConfig

DEFAULT_CACHE_GIB = 64.0


class ClusterConfig(ConfigPart):
    """Where and how wide the stages run.

    Shards, blocks and actors change no triplet, unless an approximate index mines them. The actors' device and number
    of threads may change the last bits of an embedding, and so belong to its cache key.
    """

    address: str | None = None
    """`local` starts Ray here; `auto` or HOST:PORT joins a cluster; unset: $RAY_ADDRESS, else local."""
    num_actors: PositiveInt = 2
    min_actors: PositiveInt | None = None
    """Begin when so many actors have a place; the others join when there is room, on a node that was added, say. null:
    all of them."""
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
    """How often a part is given to a fresh actor after the one that held it died. With 0, what was in the memory of a
    node that died is not made anew either."""
    stall_timeout_s: Annotated[float, Field(gt=0.0)] = 600.0
    """No part finished, or the training workers said nothing, for so long: the job fails instead of hanging. Workers
    speak with every step and while they wait for a generation; the longest silences are their start, a wait for CPUs or
    GPUs that others hold, the first step with training.compile, and a slow store."""
    wait_for_nodes_s: Annotated[float, Field(ge=0.0)] = 0.0
    """Where a cluster is too small for the job: ask its autoscaler for nodes, and wait so long for them (or for others
    to join); also later, where its actors have lost their nodes. 0: end at once, with the error that says what is
    missing."""
    cache_dir: str | None = None
    """Local folder for copies of the corpus; a folder in the system's temporary one by default."""
    cache_gib: Annotated[float, Field(gt=0.0)] = DEFAULT_CACHE_GIB
    """How many GiB the folder may hold, of all corpora that jobs on this machine read. What nobody reads makes room,
    the longest unread first, also where the disk is full; a trainer needs room for the whole corpus."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Where a Ray that the job starts serves its metrics to Prometheus, on 127.0.0.1; null: any free port."""

    @property
    def num_needed_actors(self) -> int:
        """How many must have a place before work begins."""
        return self.min_actors or self.num_actors

    @model_validator(mode="after")
    def _min_is_no_more_than_all(self) -> Self:
        if self.num_needed_actors > self.num_actors:
            raise ValueError(
                f"cluster.min_actors {self.min_actors} is more than cluster.num_actors {self.num_actors}: "
                "lower the one or raise the other"
            )
        return self

    @property
    def actor_device(self) -> Literal["cpu", "cuda"]:
        """Where the actors of a refresh encode."""
        return "cuda" if self.gpus_per_actor > 0 else "cpu"


class RunConfig(ConfigPart):
    """Everything that a job needs to know."""

    workspace: str = "workspace"
    """A local folder or s3://bucket/prefix that holds corpus, embeddings, checkpoints and generations."""
    run: Annotated[str, Field(pattern=f"^{RUN_NAME}$")] = "main"
    """Name of a training run; runs in one workspace share the corpus."""
    seed: Seed = 0
    corpus: CorpusConfig = CorpusConfig()
    transform: TransformConfig = TransformConfig()
    encoder: EncoderConfig = EncoderConfig()
    embed: EmbedConfig = EmbedConfig()
    mining: MiningConfig = MiningConfig()
    training: TrainingConfig = TrainingConfig()
    harmonic: HarmonicConfig | None = None
    """Makes the new embeddings comparable with an older encoder's; null: they need not be."""
    evaluation: EvaluationConfig = EvaluationConfig()
    retention: RetentionConfig = RetentionConfig()
    cluster: ClusterConfig = ClusterConfig()
    observe: ObserveConfig = ObserveConfig()

    def at_step(self, step: int) -> "RunConfig":
        """The config with the curriculum's stages up to ``step`` applied, and no stages left to come.

        Args:
            step: The step at which a round begins: that of the checkpoint which it starts (and is mined) from.
        """
        training, mining = self.training, self.mining
        batch, selection = training.batch, training.selection
        for stage in training.curriculum:
            if stage.from_step <= step:
                changes = {"clique_size": stage.clique_size, "random_share": stage.random_share}
                batch = batch.model_copy(update={key: value for key, value in changes.items() if value is not None})
                mining = mining.model_copy(update={"band": stage.band or mining.band})
                selection = stage.selection or selection
        training = training.model_copy(update={"batch": batch, "selection": selection, "curriculum": ()})
        return self.model_copy(update={"training": training, "mining": mining})

    @model_validator(mode="after")
    def _the_old_encoder_is_of_another_run(self) -> Self:
        if self.harmonic is not None and self.harmonic.run == self.run:
            raise ValueError(
                f"harmonic.checkpoint {self.harmonic.checkpoint!r} is of the run that is to be trained: give the new "
                "encoder another --run"
            )
        return self

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
