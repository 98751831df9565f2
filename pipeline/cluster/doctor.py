"""What a job would meet: versions, devices, the workspace and what it holds, the cluster."""

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

import ray
import torch
from rich.console import Console
from rich.table import Table

from pipeline.cluster.session import required_resources, session
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import CorpusManifest
from pipeline.encoders.checkpoints import checkpoints
from pipeline.encoders.registry import build_encoder
from pipeline.errors import InputError, PipelineError, UnavailableError
from pipeline.mining.index import import_faiss
from pipeline.mining.miner import resolve_backend
from pipeline.mining.native import instruction_sets, why_missing
from pipeline.storage.leases import standing_leases
from pipeline.storage.manifest import library_versions
from pipeline.storage.publish import Publication
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        subject: What was looked at.
        found: What was found, for people.
        error: Why a job would fail on it, if it would.
    """

    subject: str
    found: str
    error: PipelineError | None = None


def examine(config: RunConfig) -> list[Finding]:
    """Looks at everything, whatever fails on the way."""
    looks: dict[str, Callable[[RunConfig], str]] = {
        "versions": lambda _: ", ".join(f"{name} {version}" for name, version in library_versions().items()),
        "machine": _machine,
        "mining": _mining,
        "encoder": _encoder,
        "workspace": _workspace,
        "contents": _contents,
        "at work": _at_work,
        "cluster": _cluster,
    }
    findings = []
    for subject, look in looks.items():
        try:
            findings.append(Finding(subject, look(config)))
        except PipelineError as error:
            findings.append(Finding(subject, str(error), error))
    return findings


def show(findings: list[Finding]) -> None:
    """A table on stderr."""
    table = Table(show_header=False)
    for finding in findings:
        table.add_row("✗" if finding.error else "✓", finding.subject, finding.found)
    Console(stderr=True).print(table)


def _machine(config: RunConfig) -> str:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found = f"{platform.platform()}, {os.cpu_count()} CPUs, {', '.join(gpus) or 'no GPU that torch can use'}"
    wants_gpu = config.training.device == "cuda" or config.cluster.gpus_per_actor > 0
    if wants_gpu and not gpus and config.cluster.address in (None, "local"):
        raise UnavailableError(
            f"the config asks for a GPU and this machine has none that torch can use ({found}): set training.device "
            "cpu and cluster.gpus_per_actor 0, or name a cluster"
        )
    return found


def _mining(config: RunConfig) -> str:
    backend = resolve_backend(config.mining, config.cluster.actor_device)  # raises if it cannot be had
    native = why_missing() or f"the compiled scan uses {instruction_sets()[-1]}"
    try:
        faiss = f"faiss {import_faiss().__version__}"
    except InputError:
        faiss = "no faiss"
    return f"the config mines with backend {backend}; {native}; {faiss}"


def _encoder(config: RunConfig) -> str:
    encoder = build_encoder(config.encoder, config.transform)
    return f"{config.encoder.name}: {sum(parameter.numel() for parameter in encoder.parameters()):,} parameters"


def _workspace(config: RunConfig) -> str:
    workspace = Workspace.open(config.workspace, config.run)
    workspace.check_writable()
    return f"{workspace.store.uri}: writable, and creates conditionally"


def _contents(config: RunConfig) -> str:
    workspace = Workspace.open(config.workspace, config.run)
    if Publication(workspace.store, workspace.corpus_prefix, CorpusManifest).latest() is None:
        return "no corpus yet: run jobs.prepare"
    corpus = Corpus.open(workspace)
    return (
        f"corpus {corpus.manifest.number} ({corpus.num_examples:,} examples, {len(corpus.label_names):,} labels), "
        f"run {config.run!r}: checkpoints {checkpoints(workspace).numbers()}, "
        f"generations {generations(workspace).numbers()}"
    )


def _at_work(config: RunConfig) -> str:
    leases = standing_leases(Workspace.open(config.workspace, config.run).store)
    return "; ".join(f"{one.record}, heard of {one.age_s:.0f} s ago" for one in leases) or "nobody"


def _cluster(config: RunConfig) -> str:
    required = required_resources(config, pool=True, trainer=True)
    with session(config.cluster, required):
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
    there = ", ".join(f"{total.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
    return f"{config.cluster.address or 'local'}: {there}; jobs.loop reserves {' and '.join(map(str, required))}"
