"""A refresh: embed, mine and publish one generation; nothing to do where that stands already."""

import numpy as np
import pyarrow as pa

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import PipelineError
from pipeline.failpoints import Failpoint, reach
from pipeline.mining.audit.hubs import find_hubs
from pipeline.mining.audit.moments import check_yield
from pipeline.mining.backends.native import why_missing
from pipeline.mining.miner import resolve_backend, to_triplets
from pipeline.progress import say, stage
from pipeline.runtime import metrics
from pipeline.stages.embed.harmonic import embed_old, old_key
from pipeline.stages.embed.stage import embed, key_of
from pipeline.stages.mine.audit import hub_rows
from pipeline.stages.mine.collector import Harvest
from pipeline.stages.mine.mining_pass import Mine
from pipeline.stages.mine.request import claim_refresh, find_generation, refresh_key
from pipeline.stages.mine.worker import RefreshPool, RefreshWorker
from pipeline.storage.leases import Lease, reader
from pipeline.storage.publish import Attempt, Publication
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.refusals import recorded_refusal
from pipeline.triplets.schema import GenerationManifest, triplet_table
from pipeline.triplets.writer import add_side_tables


def refresh(
    pool: RefreshPool, config: RunConfig, workspace: Workspace, corpus: Corpus, checkpoint: CheckpointManifest
) -> tuple[GenerationManifest, bool]:
    """Publishes the generation of this checkpoint, unless it stands already; waits where another job is at it.

    Returns:
        The generation, and whether this call published it; False where it was there already.

    Raises:
        AuditRefusedError: The embeddings cannot be mined; nothing was published.
        InputError: The training examples cannot form a triplet, or the backend is not to be had.
    """
    found = claim_refresh(config, workspace, corpus, checkpoint)
    if not isinstance(found, Lease):
        return found, False
    config = config.at_step(checkpoint.step)
    backend = _say_backend(config)
    standing = None
    with found.kept():
        while standing is None:
            published, ours = _mine(pool, config, workspace, corpus, checkpoint, backend)
            pool.broadcast(RefreshWorker.release)
            if ours:
                return published, True
            standing = find_generation(config, workspace, corpus, checkpoint)
            if standing is None:
                number = published.number
                say(f"another job published generation {number} of other content meanwhile: mining for the next")
    return standing, False


def _mine(
    pool: RefreshPool,
    config: RunConfig,
    workspace: Workspace,
    corpus: Corpus,
    checkpoint: CheckpointManifest,
    backend: str,
) -> tuple[GenerationManifest, bool]:
    """Embeds, mines and publishes; returns the manifest that then stands under the number, and whether it is ours."""
    publication = generations(workspace)
    latest = publication.latest()
    attempt = publication.begin(0 if latest is None else latest.number + 1)
    keys = (key_of(config, corpus, checkpoint), old_key(config, workspace, corpus, checkpoint))
    pinned = reader(
        workspace.store,
        f"mining of generation {attempt.number} of run {workspace.run!r}",
        f"{publication.folder(attempt.number, attempt.writer)}/",
        corpus.manifest_key,
        checkpoints(workspace).manifest_key(checkpoint.step),
        *([] if latest is None else [publication.manifest_key(latest.number)]),
        *(f"{workspace.embeddings_prefix(key)}/" for key in keys if key is not None),
    )
    with pinned.kept():
        embeddings = embed(pool, config, workspace, corpus, checkpoint)
        mixture = embed_old(pool, config, workspace, corpus, checkpoint)
        of_it = (checkpoint.step, checkpoint.weights_digest, corpus.fingerprint, config.mining)
        with recorded_refusal(workspace, *of_it), metrics.counting_refusals():
            mine = Mine(pool, config, corpus, backend, embeddings, checkpoint.step, mixture)
            previous = _previous(config, publication, latest, corpus)
            with attempt.kept_if_whole():
                facts = _write(attempt, config, corpus, checkpoint, mine, previous)
                with metrics.stage_timer("verify"):
                    facts |= _verify(mine, backend)
        manifest = GenerationManifest(
            **attempt.header(),
            **facts,
            parent=None if latest is None else latest.number,
            seed=config.seed,
            config_digest=config.digest(),
            refresh_key=refresh_key(config, corpus, checkpoint),
            checkpoint_step=checkpoint.step,
            weights_digest=checkpoint.weights_digest,
            corpus_fingerprint=corpus.fingerprint,
            embeddings_key=embeddings,
            mining=config.mining,
            backend=backend,
            warm_start_generation=None if previous is None else previous.number,
            spread=mine.report.spread,
            effective_rank=mine.report.effective_rank,
            harmonic=checkpoint.harmonic,
            old_share=0.0 if mixture is None else mixture.share,
            old_embeddings_key=None if mixture is None else mixture.key,
        )
        with metrics.stage_timer("publish"):
            return attempt.publish(manifest)


def _say_backend(config: RunConfig) -> str:
    """The backend, said aloud where it was chosen here."""
    backend = resolve_backend(config.mining, config.cluster.actor_device)
    if config.mining.backend == "auto":
        why = f": {why_missing()}" if backend == "reference" else ""
        say(f"mining backend: {backend} (chosen by auto{why})")
    return backend


def _previous(
    config: RunConfig, publication: Publication[GenerationManifest], latest: GenerationManifest | None, corpus: Corpus
) -> Generation | None:
    """The generation to begin from: the newest, where it is of this corpus, so that ids mean the same."""
    if not config.mining.starts_warm or latest is None or latest.corpus_fingerprint != corpus.fingerprint:
        return None
    return Generation(publication, latest)


def _verify(mine: Mine, backend: str) -> dict[str, object]:
    """Compares a sample of the answers with brute force.

    Raises:
        PipelineError: A backend that is exact by construction disagrees.
    """
    agreement = mine.agreement()
    if backend != "faiss" and agreement.num_agreeing < agreement.num_pairs:
        raise PipelineError(
            f"backend {backend} answered {agreement.num_pairs - agreement.num_agreeing} of {agreement.num_pairs} "
            "sampled pairs worse than float64 brute force; nothing was published: this is a bug or failing hardware; "
            "set mining.backend reference, and please report it"
        )
    return {"num_pairs_verified": agreement.num_pairs, "agreement": agreement.share}


def _write(
    attempt: Attempt[GenerationManifest],
    config: RunConfig,
    corpus: Corpus,
    checkpoint: CheckpointManifest,
    mine: Mine,
    previous: Generation | None,
) -> dict[str, object]:
    """Writes the parts of a generation as its blocks are mined; returns the counts for the manifest."""
    provenance = {
        "generation": str(attempt.number),
        "checkpoint_step": str(checkpoint.step),
        "weights_digest": checkpoint.weights_digest,
        "corpus_fingerprint": corpus.fingerprint,
        "mining": config.mining.model_dump_json(),
        "config_digest": config.digest(),
    }
    harvest = Harvest(attempt, config.mining, corpus, provenance)
    num_pairs = num_unanswered = num_handed_on = 0
    with stage(f"mine step {checkpoint.step}", mine.num_anchors, "anchors") as done:
        for block in mine.blocks(previous):
            triplets, unanswered = to_triplets(block.pairs, block.nearest)
            harvest.add(triplet_table(*vars(triplets).values()))
            reach(Failpoint.BLOCK_TAKEN)
            num_pairs += len(block.pairs)
            num_unanswered += unanswered
            num_handed_on += block.num_handed_on
            metrics.PAIRS_SCANNED.add(len(block.pairs))
            metrics.PAIRS_ANSWERED.add(len(block.pairs) - unanswered)
            metrics.TRIPLETS_WRITTEN.add(len(triplets.anchor_T))
            done(len(np.unique(block.pairs.anchor_P, return_counts=True)[0]), f"{harvest.num_triplets:,} triplets")
    harvest.close()
    rules, num_mined = config.mining.audit, harvest.num_triplets
    check_yield(num_pairs, num_unanswered, rules)
    hubs = find_hubs(harvest.negatives_N, rules.max_hub_factor)
    if len(hubs) and rules.quarantine == "exclude":
        harvest = harvest.capped(hubs, config.seed)
    quarantine = pa.concat_tables([mine.quarantine, hub_rows(hubs, rules)])
    neighbours = harvest.tally.table(corpus.label_names, config.mining.neighbours_per_label)
    add_side_tables(attempt, quarantine, neighbours)
    return {
        "num_pairs": num_pairs,
        "num_pairs_without_negative": num_unanswered,
        "num_triplets": harvest.num_triplets,
        "kinds": harvest.kinds,
        "num_pairs_from_index_to_scan": num_handed_on,
        "quarantined": mine.quarantined | {"hub": len(hubs)},
        "audit": mine.figures
        | {
            "most_triplets_of_a_negative": float(harvest.negatives_N.max(initial=0)),
            "num_triplets_left_out_by_hubs": float(num_mined - harvest.num_triplets),
        },
    }
