"""Measures the rates of a plan: with the pool that would refresh, on the corpus that would be mined."""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from pydantic import BaseModel

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import EXAMPLES
from pipeline.encoders.checkpoints import checkpoints
from pipeline.mining.backends.registry import resolve_backend
from pipeline.planning.measure.driver_rates import measure_driver
from pipeline.planning.measure.search_rates import timed
from pipeline.planning.measure.worker import RateWorker
from pipeline.planning.rates import CorpusFacts, EmbedRates, Machine, Rates, SearchRates, deciding_settings
from pipeline.progress import log
from pipeline.runtime.actor_pool import ActorPool, Task
from pipeline.runtime.remote import fetch, resolved
from pipeline.runtime.resources import live_nodes
from pipeline.runtime.session import required_resources, session
from pipeline.stages.job import Job
from pipeline.stages.mine.shards import num_shards
from pipeline.stages.node_facts import NodeFacts, resident_bytes
from pipeline.storage.object_store import PROBE_PREFIX
from pipeline.storage.workspace import Workspace

_MOST_SEARCHED = {"cpu": 1 << 17, "cuda": 1 << 20}
_PINGS = 50  # of each actor
_SAMPLED_BLOCKS = 16


def measure_rates(job: Job, train_s_per_step: float | None = None) -> Rates:
    """Runs the work of a refresh on a few stretches of the corpus, for a quarter of a minute or so.

    The workspace's store is measured, too: what is written there lies below ``.probe``, and is deleted.

    Raises:
        InputError: The corpus is too small to measure with.
        UnavailableError: The cluster cannot give what the config asks for.
    """
    config, corpus, cluster = job.config, job.corpus, job.config.cluster
    backend = resolve_backend(config.mining, cluster.actor_device)
    shard_size = -(-corpus.num_examples // num_shards(config, corpus.num_examples))
    wanted = min(shard_size, _MOST_SEARCHED[cluster.actor_device])
    newest = checkpoints(job.workspace).latest()
    step = None if newest is None else newest.step
    begun = time.perf_counter()
    with (
        session(cluster, required_resources(config, pool=True, trainer=False)) as waited_s,
        ActorPool(cluster, RateWorker, config, corpus.manifest.number) as pool,
        _scratch(job.workspace) as scratch,
    ):
        pool.start()
        start_s = time.perf_counter() - begun - waited_s
        log(f"measuring: {cluster.num_actors} actors on {corpus.num_examples:,} examples")
        firsts = [actor * corpus.num_parts // cluster.num_actors for actor in range(cluster.num_actors)]
        embedding = (Task(i, RateWorker.embed_stretch, scratch, step, first, wanted) for i, first in enumerate(firsts))
        embedded = dict(pool.run(embedding))
        # All begin at once, as in a refresh: they share caches, the memory's bandwidth, and what a core is made of.
        searching = (
            Task(i, RateWorker.search_stretch, backend, resolved(one.shard)).with_affinity(i)
            for i, one in sorted(embedded.items())
        )
        found = dict(pool.run(searching))
        pings = _PINGS * cluster.num_actors
        ping_s, _ = timed(lambda: list(pool.run(Task(i, RateWorker.ping) for i in range(pings))))
        shard = fetch(embedded[0].shard, cluster.stall_timeout_s)
        measured = measure_driver(Job(config, scratch, corpus), shard, found[0].searched, ping_s / pings)
        nodes, ended = live_nodes(), time.perf_counter()
    stop_s = time.perf_counter() - ended
    num_gpus, num_nodes = max(node.get("GPU", 0.0) for node in nodes), len(nodes)
    first, searched = embedded[0], [one.searched for one in found.values()]
    return Rates(
        measured_with=deciding_settings(config),
        machine=_machine(first.facts, int(num_gpus)),
        corpus=facts_of(config, corpus),
        num_nodes=num_nodes,
        actors_at_once=-(-cluster.num_actors // num_nodes),
        session_s=start_s + stop_s,
        actor_start_s=max(one.start_s + found[i].searched.first_s for i, one in embedded.items()),
        actor_idle_bytes=max(one.idle_bytes for one in embedded.values()),
        actor_block_bytes=max(0, *(found[i].peak_bytes - one.idle_bytes for i, one in embedded.items())),
        driver_idle_bytes=resident_bytes(),
        gpu_bytes=max(one.gpu_bytes for one in found.values()),
        embed=EmbedRates(**_means([one.embed for one in embedded.values()])),
        load_s_per_example=float(np.mean([one.load_s for one in embedded.values()])),
        pair_s_per_mate=float(np.mean([one.pair_s for one in searched])),
        own_s_per_mate=float(np.mean([one.own_s for one in searched])),
        mine=SearchRates(**_means([one.mine for one in searched])),
        audit=SearchRates(**_means([one.audit for one in searched])),
        verify_s_per_comparison=float(np.mean([one.verify_s for one in searched])),
        answered_share=float(np.mean([one.nearest.found_PM.mean() for one in searched])),
        train_s_per_step=train_s_per_step,
        **measured,
    )


def facts_of(config: RunConfig, corpus: Corpus) -> CorpusFacts:
    """What a plan must know of a corpus."""
    sizes, counts = np.unique(np.bincount(corpus.labels[~corpus.is_test]), return_counts=True)
    table, parts = corpus.read_part(0), corpus.manifest.parts_of(EXAMPLES)
    return CorpusFacts(
        num_examples=corpus.num_examples,
        label_sizes=tuple((int(size), int(number)) for size, number in zip(sizes, counts, strict=True) if size),
        stored_bytes=sum(part.num_bytes for part in parts),
        payload_bytes=table.column(corpus.payload.name).nbytes / len(table) * corpus.num_examples,
        num_parts=corpus.num_parts,
        mates_per_anchor=_mates_per_anchor(config, corpus),
    )


def _mates_per_anchor(config: RunConfig, corpus: Corpus) -> float:
    """Of some blocks: examples that share a label with one of its anchors, over its anchors."""
    ids_N = np.flatnonzero(~corpus.is_test)
    size_of_label = np.bincount(corpus.labels[ids_N])
    size = min(config.cluster.anchors_per_block, len(ids_N))
    starts = np.unique(np.linspace(0, len(ids_N) - size, _SAMPLED_BLOCKS).astype(int))
    mates = [size_of_label[np.unique(corpus.labels[ids_N[start : start + size]])].sum() for start in starts]
    return float(np.mean(mates) / size)


def _machine(facts: NodeFacts, num_gpus: int) -> Machine:
    gpus = f", {num_gpus} × {facts.gpus[0]}" if facts.gpus else ""
    return Machine(
        name=f"{facts.num_cpus} CPUs{gpus}",
        num_cpus=facts.num_cpus,
        memory_bytes=facts.memory_bytes,
        disk_free_bytes=min(facts.cache_free_bytes, facts.spill_free_bytes),
        num_gpus=num_gpus if facts.gpus else 0,
        gpu_memory_bytes=facts.gpu_memory_bytes,
    )


def _means(records: Sequence[BaseModel]) -> dict[str, float]:
    documents = [record.model_dump() for record in records]
    return {name: float(np.mean([document[name] for document in documents])) for name in documents[0]}


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace below the workspace, in the same store, for as long as the block runs."""
    folder = f"{PROBE_PREFIX}/plan-{uuid.uuid4().hex}"
    scratch = Workspace.open(workspace.uri_of(folder), workspace.run)
    try:
        yield scratch
    finally:
        for key in workspace.store.list(folder):
            workspace.store.delete(key)
