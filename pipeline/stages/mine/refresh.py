"""A refresh: embed, mine and publish one generation; nothing to do where that stands already."""

import numpy as np
import pyarrow as pa

from pipeline.encoders.checkpoints import checkpoints
from pipeline.errors import PipelineError
from pipeline.failpoints import Failpoint, reach
from pipeline.mining.audit.hubs import find_hubs
from pipeline.mining.audit.moments import check_yield
from pipeline.mining.backends.registry import BACKENDS
from pipeline.mining.triplets import to_triplets
from pipeline.mining.verify import Agreement
from pipeline.progress import log, stage
from pipeline.runtime import metrics
from pipeline.stages.embed.harmonic import embed_old, old_key
from pipeline.stages.embed.stage import embed
from pipeline.stages.mine.audit import AuditedCorpus, audit_shards, hub_rows
from pipeline.stages.mine.collector import TripletCollector
from pipeline.stages.mine.mining_pass import AnswerSample, check_sample, search_blocks
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.shards import load_shards
from pipeline.stages.mine.worker import RefreshPool, RefreshWorker
from pipeline.storage.leases import Lease, acquire_pins
from pipeline.storage.publish import Transaction, VersionedDataset
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.refusals import recorded_refusal
from pipeline.triplets.schema import GenerationManifest
from pipeline.triplets.writer import add_side_tables


def refresh(pool: RefreshPool, request: RefreshRequest) -> tuple[GenerationManifest, bool]:
    """Publishes the generation that is asked for, unless it stands already; waits where another job is at it.

    Returns:
        The generation, and whether this call published it; False where it was there already.

    Raises:
        AuditRefusedError: The embeddings cannot be mined; nothing was published.
        InputError: The training examples cannot form a triplet.
    """
    found = request.acquire()
    if not isinstance(found, Lease):
        return found, False
    _log_backend(request)
    wanted = None
    with found.renewing():
        while wanted is None:
            published, ours = _mine(pool, request)
            pool.broadcast(RefreshWorker.release)
            if ours:
                return published, True
            wanted = request.find_generation()
            if wanted is None:
                number = published.number
                log(f"another job published generation {number} of other content meanwhile: mining for the next")
    return wanted, False


def _mine(pool: RefreshPool, request: RefreshRequest) -> tuple[GenerationManifest, bool]:
    """Embeds, mines and publishes; returns the manifest that then stands under the number, and whether it is ours."""
    job, config, checkpoint, corpus = request.job, request.config, request.checkpoint, request.job.corpus
    dataset = generations(job.workspace)
    latest = dataset.latest()
    transaction = dataset.begin(0 if latest is None else latest.number + 1)
    keys = (request.embeddings_key, old_key(job, checkpoint))
    pinned = acquire_pins(
        job.workspace.store,
        f"mining of generation {transaction.number} of run {job.workspace.run!r}",
        f"{dataset.data_folder(transaction.number, transaction.writer)}/",
        corpus.manifest_key,
        checkpoints(job.workspace).manifest_key(checkpoint.step),
        *([] if latest is None else [dataset.manifest_key(latest.number)]),
        *(f"{job.workspace.embeddings_prefix(key)}/" for key in keys if key is not None),
    )
    with pinned.renewing():
        embed(pool, job, checkpoint, request.embeddings_key)
        mixture = embed_old(pool, job, checkpoint)
        of_it = (checkpoint.step, checkpoint.weights_digest, corpus.fingerprint, config.mining)
        with recorded_refusal(job.workspace, *of_it), metrics.counting_refusals():
            audited = audit_shards(pool, request, *load_shards(pool, request, mixture))
            previous = _previous(request, dataset, latest)
            with transaction.rollback_on_error():
                counts = _write(pool, request, transaction, audited, previous)
        manifest = GenerationManifest(
            **transaction.manifest_fields(),
            **counts,
            parent=None if latest is None else latest.number,
            seed=config.seed,
            config_digest=config.digest(),
            refresh_key=request.key,
            checkpoint_step=checkpoint.step,
            weights_digest=checkpoint.weights_digest,
            corpus_fingerprint=corpus.fingerprint,
            embeddings_key=request.embeddings_key,
            mining=config.mining,
            backend=request.backend,
            warm_start_generation=None if previous is None else previous.number,
            spread=audited.report.spread,
            effective_rank=audited.report.effective_rank,
            harmonic=checkpoint.harmonic,
            old_share=0.0 if mixture is None else mixture.share,
            old_embeddings_key=None if mixture is None else mixture.key,
        )
        with metrics.stage_timer("publish"):
            return transaction.commit(manifest)


def _log_backend(request: RefreshRequest) -> None:
    """Logs which backend was chosen, where the config leaves it open."""
    if request.config.mining.backend == "auto":
        reason = BACKENDS["native"].unavailable_reason() if request.backend == "reference" else None
        log(f"mining backend: {request.backend} (chosen by auto{f': {reason}' if reason else ''})")


def _previous(
    request: RefreshRequest, dataset: VersionedDataset[GenerationManifest], latest: GenerationManifest | None
) -> Generation | None:
    """The generation to begin from: the newest, where it is of this corpus, so that ids mean the same."""
    if not request.config.mining.starts_warm or latest is None:
        return None
    return Generation(dataset, latest) if latest.corpus_fingerprint == request.job.corpus.fingerprint else None


def _check(backend: str, agreement: Agreement) -> None:
    """Refuses answers that brute force contradicts.

    Raises:
        PipelineError: A backend that is exact by construction disagrees.
    """
    if BACKENDS[backend].is_exact and agreement.num_agreeing < agreement.num_pairs:
        raise PipelineError(
            f"backend {backend} answered {agreement.num_pairs - agreement.num_agreeing} of {agreement.num_pairs} "
            "sampled pairs worse than float64 brute force; nothing was published: this is a bug or failing hardware; "
            "set mining.backend reference, and please report it"
        )


def _write(
    pool: RefreshPool,
    request: RefreshRequest,
    transaction: Transaction[GenerationManifest],
    audited: AuditedCorpus,
    previous: Generation | None,
) -> dict[str, object]:
    """Writes the parts of a generation as its blocks are mined, and checks a sample; returns the manifest's counts."""
    config, corpus = request.config, request.job.corpus
    collector = TripletCollector(transaction, config.mining, corpus, _provenance(request, transaction))
    sample = AnswerSample(request, audited)
    num_pairs = num_unanswered = num_handed_on = 0
    num_anchors = len(audited.sharded.groups.anchors_A)
    with stage(f"mine step {request.checkpoint.step}", num_anchors, "anchors") as advance:
        for block in search_blocks(pool, request, audited, previous):
            sample.add(block)
            triplets, unanswered = to_triplets(block.pairs, block.nearest)
            collector.add(triplets)
            reach(Failpoint.BLOCK_TAKEN)
            num_pairs += len(block.pairs)
            num_unanswered += unanswered
            num_handed_on += block.num_handed_on
            metrics.PAIRS_SCANNED.add(len(block.pairs))
            metrics.PAIRS_ANSWERED.add(len(block.pairs) - unanswered)
            metrics.TRIPLETS_WRITTEN.add(len(triplets))
            advance(len(np.unique(block.pairs.anchor_P, return_counts=True)[0]), f"{collector.num_triplets:,} triplets")
    collector.close()
    rules, num_mined = config.mining.audit, collector.num_triplets
    check_yield(num_pairs, num_unanswered, rules)
    hubs = find_hubs(collector.negatives_N, rules.max_hub_factor)
    if len(hubs) and rules.quarantine == "exclude":
        collector = collector.capped(hubs, config.seed)
    quarantine = pa.concat_tables([audited.quarantine, hub_rows(hubs, rules)])
    neighbours = collector.tally.table(corpus.label_names, config.mining.neighbours_per_label)
    add_side_tables(transaction, quarantine, neighbours)
    with metrics.stage_timer("verify"):
        agreement = check_sample(pool, request, audited, sample)
        _check(request.backend, agreement)
    hub_figures = {
        "most_triplets_of_a_negative": float(collector.negatives_N.max(initial=0)),
        "num_triplets_left_out_by_hubs": float(num_mined - collector.num_triplets),
    }
    return {
        "num_pairs": num_pairs,
        "num_pairs_without_negative": num_unanswered,
        "num_triplets": collector.num_triplets,
        "kinds": collector.kinds,
        "num_pairs_from_index_to_scan": num_handed_on,
        "quarantined": audited.quarantined | {"hub": len(hubs)},
        "audit": audited.figures | hub_figures,
        "num_pairs_verified": agreement.num_pairs,
        "agreement": agreement.share,
    }


def _provenance(request: RefreshRequest, transaction: Transaction[GenerationManifest]) -> dict[str, str]:
    """What each file of a generation carries."""
    return {
        "generation": str(transaction.number),
        "checkpoint_step": str(request.checkpoint.step),
        "weights_digest": request.checkpoint.weights_digest,
        "corpus_fingerprint": request.job.corpus.fingerprint,
        "mining": request.config.mining.model_dump_json(),
        "config_digest": request.config.digest(),
    }
