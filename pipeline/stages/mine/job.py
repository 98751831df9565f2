"""Mine: one refresh for the newest checkpoint, or one for each checkpoint of a trainer that runs elsewhere."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import AuditRefusedError, PipelineError
from pipeline.inspection.report.page import write_report
from pipeline.progress import log
from pipeline.runtime import metrics
from pipeline.runtime.actor_pool import ActorPool
from pipeline.runtime.session import required_resources, session
from pipeline.stages.embed.checkpoint import newest_checkpoint
from pipeline.stages.embed.harmonic import embed_old
from pipeline.stages.job import Job
from pipeline.stages.mine.refresh import refresh
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.worker import RefreshWorker
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest

_LOG = logging.getLogger(__name__)
_WATCH_INTERVAL_S = 1.0


def mine_once(job: Job) -> tuple[GenerationManifest, bool]:
    """One refresh from the newest checkpoint; where there is nothing to do, no Ray is started to find that out.

    Returns:
        The generation, and whether this call published it.
    """
    config = job.config
    request = RefreshRequest.resolve(job, newest_checkpoint(job))
    published = request.await_generation()
    if published is not None:
        log(f"{format_generation(published)} — nothing to do")
        return published, False
    required = required_resources(config, pool=True, trainer=False)
    with (
        reported_refusal(job),
        session(config.cluster, required),
        metrics.recording(config.run, "job"),
        ActorPool(config.cluster, RefreshWorker, config, job.corpus.manifest.number) as pool,
    ):
        pool.start()  # the lease's holder has its actors: jobs that wait may hold the rest of the cluster
        return _log_outcome(job.workspace, *refresh(pool, request))


def mine_watch(job: Job) -> list[int]:
    """Refreshes for the checkpoints of a trainer in another job, until that has ended.

    Returns:
        Numbers of the generations there are.
    """
    config = job.config
    newest_checkpoint(job)
    with (
        reported_refusal(job),
        session(config.cluster, required_resources(config, pool=True, trainer=False)),
        metrics.recording(config.run, "job"),
    ):
        follow_checkpoints(job, lambda _: time.sleep(_WATCH_INTERVAL_S))
    return generations(job.workspace).numbers()


def follow_checkpoints(job: Job, idle: Callable[[CheckpointManifest], None]) -> None:
    """Refreshes for every new checkpoint until the last one of the run, which needs no generation any more.

    ``idle`` is called again and again while there is nothing to mine; it may raise to end the watch.
    """
    config, dataset = job.config, checkpoints(job.workspace)
    if (published := generations(job.workspace).latest()) is not None:
        _record_generation(published)
    with ActorPool(config.cluster, RefreshWorker, config, job.corpus.manifest.number) as pool:
        request = RefreshRequest.resolve(job, dataset.read(dataset.numbers()[-1]))
        # At once: a trainer may wait for them, also where the first generation stands already.
        embed_old(pool, job, request.checkpoint)
        refused: int | None = None
        while (step := dataset.numbers()[-1]) < config.training.num_steps:
            if step != request.checkpoint.step:
                request = RefreshRequest.resolve(job, dataset.read(step))
            if step == refused or request.find_generation() is not None:
                idle(request.checkpoint)
                continue
            try:
                _log_outcome(job.workspace, *refresh(pool, request))
            except AuditRefusedError as error:
                if config.training.mode == "alternate":  # its trainer cannot go on without
                    raise
                refused = step
                log(f"WARNING: refused by the audit, training goes on with what there is: {error}")


@contextmanager
def reported_refusal(job: Job) -> Iterator[None]:
    """Where the audit refuses a generation inside the block, the run's report says so to whoever comes next."""
    try:
        yield
    except AuditRefusedError:
        leave_report(job)
        raise


def leave_report(job: Job) -> str | None:
    """Writes the run's report and says where; what keeps it from being written is said too, and spoils nothing else.

    Returns:
        Where it is.
    """
    try:
        place = write_report(job.workspace, job.config)
    except Exception as error:  # noqa: BLE001 — whatever it is, the outcome of the job itself is what counts
        if not isinstance(error, PipelineError):
            _LOG.exception("the report failed")
        log(f"no report was written: {error}")
        return None
    log(f"report: {place}")
    return place


def _log_outcome(workspace: Workspace, manifest: GenerationManifest, is_new: bool) -> tuple[GenerationManifest, bool]:
    """Logs and records the outcome of a refresh, and returns it."""
    _record_generation(manifest)
    metrics.GENERATIONS_PUBLISHED.add(int(is_new))
    folder = workspace.uri_of(manifest.parts_of("triplets")[0].key.rpartition("/")[0])
    log(f"{format_generation(manifest)} — {f'published in {folder}' if is_new else 'nothing to do'}")
    if manifest.num_triplets == 0:
        log("WARNING: no pair has a negative in its band, so steps come from random labels alone: widen mining.band")
    return manifest, is_new


def format_generation(manifest: GenerationManifest) -> str:
    """A generation in one line."""
    kinds = ", ".join(f"{count:,} {kind.replace('_', '-')}" for kind, count in manifest.kinds.items() if count)
    return (
        f"generation {manifest.number}: {manifest.num_triplets:,} triplets ({kinds or 'none'}) for "
        f"{manifest.num_pairs:,} pairs, {manifest.num_pairs_without_negative:,} of them without a negative in their "
        f"band; mined from checkpoint {manifest.checkpoint_step}"
    )


def _record_generation(manifest: GenerationManifest) -> None:
    """Records what the newest generation is."""
    metrics.GENERATION.set(manifest.number)
    metrics.GENERATION_STEP.set(manifest.checkpoint_step)
    metrics.GENERATION_TIME.set(datetime.fromisoformat(manifest.created_at).timestamp())
    metrics.GENERATION_TRIPLETS.set(manifest.num_triplets)
    metrics.EFFECTIVE_RANK.set(manifest.effective_rank)
    for reason, count in manifest.quarantined.items():
        metrics.QUARANTINED.set(count, reason=reason)
