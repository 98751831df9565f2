"""A refresh on pretend nodes: the real scheduler and the real answers, with kernels that take a fixed time.

    python -m tests.support.pretend --nodes 1 2 4 8 --examples 20000 --seconds 1

Every node is a raylet of its own on this machine with one actor. A search of a block in a shard, and the embedding of a
part, last so long as was said, whatever they take here: so the time of a refresh tells how its work was spread, and not
what the cores can do. It runs from when the actors are there to when the generation is published.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from pipeline.config import (
    AuditConfig,
    ClusterConfig,
    CorpusConfig,
    EncoderConfig,
    MiningConfig,
    PositivesConfig,
    RunConfig,
    SourceConfig,
)
from pipeline.corpus.ingest import prepare
from pipeline.mining.queries import Queries
from pipeline.mining.shards import Shard
from pipeline.mining.topk import Nearest
from pipeline.runtime.actor_pool import ActorPool
from pipeline.runtime.session import required_resources, session
from pipeline.stages.embed.checkpoint import newest_checkpoint
from pipeline.stages.job import Job
from pipeline.stages.mine import search as search_stage
from pipeline.stages.mine.refresh import refresh
from pipeline.stages.mine.request import RefreshRequest
from pipeline.stages.mine.worker import RefreshWorker, Search
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.support.jobs import ROOT, environment
from tests.support.raylets import Raylets, raylets

SEED = 8
COMMAND = (sys.executable, "-m", "tests.support.pretend")
NUM_DIMS, PER_LABEL = 16, 4


class PretendWorker(RefreshWorker):
    """Does what a worker does, takes a fixed time for it, and notes where it was done."""

    def __init__(self, config: RunConfig, corpus_number: int, seconds: float, notes: str) -> None:
        super().__init__(config, corpus_number)
        node = ray.get_runtime_context().get_node_id()
        self._seconds, self._notes = seconds, Path(notes) / node

    def embed_part(self, run: str, step: int, key: str, part: int) -> int:
        start_s = time.monotonic()
        embedded = super().embed_part(run, step, key, part)
        self._pretend(start_s, f"embed {part}")
        return embedded

    def search_block(
        self, search: Search, numbers: tuple[int, ...], queries: Queries, *shards: Shard
    ) -> tuple[Nearest, int]:
        start_s = time.monotonic()
        found = super().search_block(search, numbers, queries, *shards)
        self._pretend(start_s, f"search {'+'.join(map(str, numbers))}")
        return found

    def _pretend(self, start_s: float, what: str) -> None:
        took_s = time.monotonic() - start_s
        time.sleep(max(self._seconds - took_s, 0.0))
        with self._notes.open("a") as notes:
            notes.write(f"{what} {took_s:.3f}\n")


def configured(folder: Path, num_examples: int, num_nodes: int, run: str = "main", **cluster: Any) -> RunConfig:  # noqa: ANN401
    """A run on vectors of its own, prepared where they are not yet."""
    config = RunConfig(
        workspace=str(folder / "workspace"),
        run=run,
        seed=SEED,
        corpus=CorpusConfig(
            source=SourceConfig(kind="parquet", path=str(folder / "vectors.parquet")),
            examples_per_part=max(num_examples // 16, 1),
            test_fraction=0,
        ),
        encoder=EncoderConfig(name="identity", embedding_dim=NUM_DIMS),
        mining=MiningConfig(
            positives=PositivesConfig(policy="hardest"), audit=AuditConfig(num_neighbours=0), verify_anchors=16
        ),
        cluster=ClusterConfig(
            num_actors=num_nodes,
            cpus_per_actor=1.0,
            num_shards=max(8, num_nodes),
            anchors_per_block=-(-num_examples // 16),
            **cluster,
        ),
    )
    if not (folder / "vectors.parquet").exists():
        pq.write_table(_vectors(num_examples), folder / "vectors.parquet")
        workspace = Workspace.open(config.workspace, config.run)
        prepare(config.corpus, workspace, config.seed, config.digest())
    return config


def _vectors(num_examples: int) -> pa.Table:
    rng = np.random.default_rng(SEED)
    labels_N = np.arange(num_examples) // PER_LABEL
    centres_LD = rng.normal(size=(labels_N[-1] + 1, NUM_DIMS))
    noise_ND = 0.5 * rng.normal(size=(num_examples, NUM_DIMS))
    vectors_ND: npt.NDArray[np.float32] = (centres_LD[labels_N] + noise_ND).astype(np.float32)
    order_N = rng.permutation(num_examples)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND[order_N].ravel()), NUM_DIMS)
    ids = [str(i) for i in range(num_examples)]
    return pa.table({"id": ids, "label": labels_N[order_N], "vector": vectors})


def start_refresh(cluster: Raylets, config: RunConfig, seconds: float, notes: Path) -> "subprocess.Popen[str]":
    """A process that does one refresh and prints how many seconds it took."""
    notes.mkdir()
    config = config.model_copy(update={"cluster": config.cluster.model_copy(update={"address": cluster.address})})
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.support.pretend",
            "--refresh",
            config.model_dump_json(),
            str(seconds),
            str(notes),
        ],
        cwd=ROOT,
        env=environment(**cluster.environ),
        stdout=subprocess.PIPE,
        text=True,
    )


def finished(job: "subprocess.Popen[str]", timeout_s: float) -> float:
    """Waits for a refresh; the seconds that it took."""
    words, _ = job.communicate(timeout=timeout_s)
    assert job.returncode == 0
    (took_s,) = re.findall(r"^\d+\.\d+$", words, re.MULTILINE)  # where a node died, Ray says so on stdout
    return float(took_s)


def triplets(config: RunConfig) -> pa.Table:
    """What was published last."""
    dataset = generations(Workspace.open(config.workspace, config.run))
    manifest = dataset.latest()
    assert manifest is not None
    from pipeline.triplets.reader import Generation

    generation = Generation(dataset, manifest)
    return pa.concat_tables([generation.shard(index) for index in range(generation.num_shards)])


def done_by_node(notes: Path) -> list[list[str]]:
    """What the actors of each node that did anything did."""
    return [file.read_text().splitlines() for file in sorted(notes.iterdir())]


def _refresh(config: RunConfig, seconds: float, notes: str) -> None:
    search_stage._SHARDS_IN_TURN = 1  # many short tasks, of which some can be lost
    job = Job.open(config)
    with (
        session(config.cluster, required_resources(config, pool=True, trainer=False)),
        ActorPool(config.cluster, PretendWorker, config, job.corpus.manifest.number, seconds, notes) as pool,
    ):
        pool.start()
        start_s = time.monotonic()
        refresh(pool, RefreshRequest.resolve(job, newest_checkpoint(job)))
        print(time.monotonic() - start_s, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one search or embedding")
    parser.add_argument("--refresh", nargs=3, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.refresh:
        config, seconds, notes = flags.refresh
        _refresh(RunConfig.model_validate_json(config), float(seconds), notes)
        return
    with tempfile.TemporaryDirectory() as folder:
        for num_nodes in flags.nodes:
            config = configured(Path(folder), flags.examples, num_nodes, f"on-{num_nodes}")
            with raylets(0, *[1.0] * num_nodes) as cluster:
                notes = Path(folder, f"notes-{num_nodes}")
                took_s = finished(start_refresh(cluster, config, flags.seconds, notes), 3600)
            print(f"{num_nodes} nodes: {summary(notes, flags.seconds, took_s)}", flush=True)


def summary(notes: Path, seconds: float, took_s: float) -> str:
    """What a refresh took, against its tasks' time shared evenly."""
    real_s = [[float(line.split()[-1]) for line in lines] for lines in done_by_node(notes)]
    ideal_s = sum(map(len, real_s)) * seconds / len(real_s)
    return (
        f"{took_s:.1f} s, where {ideal_s:.1f} s were ideal; tasks by node {[len(node_s) for node_s in real_s]}; "
        f"a real one took up to {max(map(max, real_s)):.2f} s"
    )


if __name__ == "__main__":
    main()
