"""Train: one TorchTrainer for the whole run, in a task of its own, so that mining can go on beside it."""

import os
import tempfile
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.train import FailureConfig, ScalingConfig
from ray.train import RunConfig as RayRunConfig
from ray.train.torch import TorchConfig, TorchTrainer

from pipeline.cluster.harmonic import check_old, choose_old
from pipeline.cluster.monitor import TrainingMonitor, TrainingStatus
from pipeline.cluster.train_worker import train_worker
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints, load_encoder, save_checkpoint
from pipeline.encoders.frozen import freeze
from pipeline.encoders.pretrained import pretrained_encoder
from pipeline.encoders.registry import build_encoder, takes_images
from pipeline.errors import InputError, UnavailableError
from pipeline.progress import say
from pipeline.storage.workspace import Workspace
from pipeline.training.losses import loss_function


def newest_checkpoint(config: RunConfig, workspace: Workspace, corpus: Corpus) -> CheckpointManifest:
    """The newest checkpoint of the run; where there is none, the one that training starts from is published.

    It is drawn from the seed, or holds ``encoder.pretrained``, and records the old encoder of a harmonic run. Whoever
    comes first, a miner or a trainer, publishes it.

    Raises:
        InputError: The checkpoint has another architecture or old encoder than the config, or the encoder does not
            take what the corpus holds.
    """
    if corpus.manifest.payload == "vector" and takes_images(config.encoder.name):
        raise InputError(
            f"the corpus holds vectors, but encoder.name {config.encoder.name!r} takes images: "
            "set encoder.name identity to mine the vectors as they are"
        )
    dim = corpus.manifest.vector_dim
    if config.encoder.name == "identity" and dim not in (None, config.encoder.embedding_dim):
        raise InputError(f"the corpus holds vectors of length {dim}: set encoder.embedding_dim {dim}")
    if corpus.manifest.payload == "image" and config.encoder.name == "identity":
        raise InputError("the corpus holds images, but encoder.name 'identity' takes vectors: name a network")
    publication = checkpoints(workspace)
    latest = publication.latest()
    if latest is None:
        latest, _ = save_checkpoint(
            publication,
            step=0,
            encoder_module=pretrained_encoder(
                config.encoder, config.transform, config.seed, workspace, corpus.fingerprint
            ),
            encoder_config=config.encoder,
            transform_config=config.transform,
            trainer_state={},
            corpus_fingerprint=corpus.fingerprint,
            generation=None,
            metrics={},
            seed=config.seed,
            config_digest=config.digest(),
            parent=None,
            harmonic=choose_old(config, workspace, corpus),
        )
    elif latest.encoder.pretrained != config.encoder.pretrained:
        say(f"note: run {config.run!r} has checkpoint {latest.step} already: encoder.pretrained is not read")
    check_old(config, latest)
    load_encoder(publication, latest, config.encoder, config.transform, "cpu")
    if latest.corpus_fingerprint != corpus.fingerprint and latest.step > 0:
        say(
            f"note: checkpoint {latest.step} was trained on another corpus or split than the newest one, "
            "and may have seen labels that are test labels now"
        )
    return latest


def check_trainable(config: RunConfig) -> None:
    """Refuses to train an encoder without parameters, a loss that is not there, or parts to freeze that are not.

    Raises:
        InputError: As it says.
    """
    loss_function(config.training.loss.name)
    encoder = build_encoder(config.encoder, config.transform)
    if not any(parameter.requires_grad for parameter in encoder.parameters()):
        raise InputError(f"encoder {config.encoder.name!r} has no parameter to train: use jobs.mine, or name a network")
    freeze(encoder, config.training.frozen)


class TrainingRun:
    """A training run in the background: a Ray task that runs the TorchTrainer, and dies with the session."""

    def __init__(self, config: RunConfig, corpus: Corpus, start_step: int) -> None:
        """Starts the workers; they resume from the newest checkpoint.

        Args:
            config: The run.
            corpus: The pinned corpus.
            start_step: The newest checkpoint's step.
        """
        monitor_class: Any = ray.remote(num_cpus=0)(TrainingMonitor)
        self._monitor: ActorHandle[Any] = monitor_class.remote(start_step)
        fit: Any = ray.remote(num_cpus=0, max_retries=0)(_fit)
        self._finished: ray.ObjectRef[None] = fit.remote(config, corpus.manifest.number, self._monitor)

    def status(self) -> TrainingStatus:
        """How far it is.

        Raises:
            PipelineError: Training cannot go on.
        """
        status = cast(TrainingStatus, ray.get(self._monitor.status.remote()))
        if status.error is not None:
            raise status.error
        if not self.running:
            try:
                ray.get(self._finished)
            except RayError as error:
                raise UnavailableError(f"the training workers failed too often: {_last_line(error)}") from error
        return status

    @property
    def running(self) -> bool:
        """Whether the workers are still at it."""
        finished, _ = ray.wait([self._finished], timeout=0)
        return not finished


def _fit(config: RunConfig, corpus_number: int, monitor: "ActorHandle[Any]") -> None:
    training, cluster = config.training, config.cluster
    resources = {"CPU": cluster.cpus_per_trainer, "GPU": cluster.gpus_per_trainer}
    with tempfile.TemporaryDirectory(prefix="motherlode-ray-train-", ignore_cleanup_errors=True) as results:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={"config": config.model_dump(mode="json"), "corpus": corpus_number, "monitor": monitor},
            torch_config=TorchConfig(backend="nccl" if training.device == "cuda" else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=training.num_workers,
                use_gpu=training.device == "cuda",
                resources_per_worker={name: amount for name, amount in resources.items() if amount},
            ),
            # Ray's own results folder holds nothing of ours: checkpoints go to the workspace.
            run_config=RayRunConfig(
                name=f"motherlode-{config.run}-{os.getpid()}",
                storage_path=results,
                failure_config=FailureConfig(max_failures=training.max_failures),
            ),
        )
        trainer.fit()


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
