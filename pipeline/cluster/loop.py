"""The loop: a miner that follows the checkpoints, beside a trainer that follows the generations.

The two share nothing but the workspace, so they run in one job or in two.
"""

import time
from collections.abc import Callable

from pipeline.cluster.pool import ActorPool
from pipeline.cluster.refresh import refresh, refresh_key
from pipeline.cluster.train_stage import TrainingRun, newest_checkpoint
from pipeline.cluster.worker import RefreshWorker
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.progress import StageProgress, say, stage
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest

_POLL_INTERVAL_S = 0.3


def describe(manifest: GenerationManifest) -> str:
    """A generation in one line."""
    kinds = ", ".join(f"{count:,} {kind.replace('_', '-')}" for kind, count in manifest.kinds.items() if count)
    return (
        f"generation {manifest.number}: {manifest.num_triplets:,} triplets ({kinds or 'none'}) for {manifest.num_pairs:,} "
        f"pairs, mined from checkpoint {manifest.checkpoint_step}"
    )


def mine_newest(
    pool: ActorPool, config: RunConfig, workspace: Workspace, corpus: Corpus
) -> tuple[GenerationManifest, bool]:
    """One refresh from the newest checkpoint; says what it did."""
    checkpoint = newest_checkpoint(config, workspace, corpus)
    manifest, is_new = refresh(pool, config, workspace, corpus, checkpoint)
    say(describe(manifest) + (" — published" if is_new else " — nothing to do"))
    return manifest, is_new


def follow_checkpoints(
    config: RunConfig, workspace: Workspace, corpus: Corpus, idle: Callable[[CheckpointManifest], None]
) -> None:
    """Refreshes for every new checkpoint until the last one of the run, which needs no generation any more.

    Args:
        config: The run.
        workspace: Its workspace.
        corpus: The pinned corpus.
        idle: Called again and again while there is nothing to mine; may raise to end the watch.
    """
    publication = checkpoints(workspace)
    with ActorPool(config.cluster, RefreshWorker, config) as pool:
        while True:
            numbers = publication.numbers()
            checkpoint = publication.read(numbers[-1])
            if checkpoint.step >= config.training.num_steps:
                return
            latest = generations(workspace).latest()
            if latest is None or latest.refresh_key != refresh_key(config, corpus, checkpoint):
                mine_newest(pool, config, workspace, corpus)
            else:
                idle(checkpoint)


def mine_once(config: RunConfig, workspace: Workspace, corpus: Corpus) -> tuple[GenerationManifest, bool]:
    """One refresh; starts no actor if there is nothing to do."""
    checkpoint = newest_checkpoint(config, workspace, corpus)
    latest = generations(workspace).latest()
    if latest is not None and latest.refresh_key == refresh_key(config, corpus, checkpoint):
        say(describe(latest) + " — nothing to do")
        return latest, False
    with ActorPool(config.cluster, RefreshWorker, config) as pool:
        return mine_newest(pool, config, workspace, corpus)


def mine_watch(config: RunConfig, workspace: Workspace, corpus: Corpus) -> None:
    """Refreshes for the checkpoints of a trainer in another job."""
    newest_checkpoint(config, workspace, corpus)

    def idle(checkpoint: CheckpointManifest) -> None:
        time.sleep(_POLL_INTERVAL_S)

    follow_checkpoints(config, workspace, corpus, idle)


def train_alone(config: RunConfig, workspace: Workspace, corpus: Corpus) -> CheckpointManifest:
    """Trains to the last step, with generations from another job, or with none where the source needs none."""
    start = newest_checkpoint(config, workspace, corpus)
    if start.step < config.training.num_steps:
        run = TrainingRun(config, start.step)
        with stage("train", config.training.num_steps, "steps") as done:
            shown = _show(done, run, 0)
            while run.running:
                shown = _show(done, run, shown)
                time.sleep(_POLL_INTERVAL_S)
            run.status()
    return _newest(workspace)


def mine_and_train(config: RunConfig, workspace: Workspace, corpus: Corpus) -> CheckpointManifest:
    """The whole loop in one job."""
    start = newest_checkpoint(config, workspace, corpus)
    if start.step < config.training.num_steps:
        run = TrainingRun(config, start.step)

        def idle(checkpoint: CheckpointManifest) -> None:
            until = min(checkpoint.step + config.training.steps_per_round, config.training.num_steps)
            with stage(f"train from step {checkpoint.step}", until - checkpoint.step, "steps") as done:
                shown = 0
                publication = checkpoints(workspace)
                while run.running and publication.numbers()[-1] == checkpoint.step:
                    shown = _show(done, run, shown, checkpoint.step)
                    time.sleep(_POLL_INTERVAL_S)
                done(until - checkpoint.step - shown)
            run.status()

        follow_checkpoints(config, workspace, corpus, idle)
        while run.running:
            time.sleep(_POLL_INTERVAL_S)
        run.status()
    return _newest(workspace)


def _show(done: StageProgress, run: TrainingRun, shown: int, base: int = 0) -> int:
    """Moves the progress on to where the trainer is; returns the steps shown so far."""
    status = run.status()
    advance = max(status.step - base - shown, 0)
    done(advance, status.note)
    return shown + advance


def _newest(workspace: Workspace) -> CheckpointManifest:
    latest = checkpoints(workspace).latest()
    assert latest is not None
    return latest
