"""What a job would meet: versions, devices, room, the store and what it holds, the cluster and its nodes."""

import platform
from collections.abc import Callable
from dataclasses import dataclass

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.exceptions import RayError
from rich.table import Table

from pipeline import progress
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import corpora
from pipeline.encoders.checkpoints import checkpoints
from pipeline.encoders.registry import build_encoder
from pipeline.errors import PipelineError, UnavailableError
from pipeline.mining.backends.registry import resolve_backend
from pipeline.runtime.remote import first_line
from pipeline.runtime.session import required_resources, session
from pipeline.stages.node_facts import describe_room, differences, look_at_node, look_at_nodes
from pipeline.storage.leases import list_leases
from pipeline.storage.manifest import library_versions
from pipeline.storage.speed import measure_speed
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.units import in_bytes


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        subject: What was looked at.
        found: What was found, for people.
        error: Why a job would fail on it, if it would.
        concern: Whether somebody should look at it, though jobs would run.
    """

    subject: str
    found: str
    error: PipelineError | None = None
    concern: bool = False

    @property
    def mark(self) -> str:
        """For the table."""
        return "✗" if self.error else "!" if self.concern else "✓"


class _Concern(str):
    """A line that somebody should look at."""


def examine(config: RunConfig) -> list[Finding]:
    """Looks at everything, whatever fails on the way."""
    looks: dict[str, Callable[[RunConfig], str]] = {
        "versions": lambda _: ", ".join(f"{name} {version}" for name, version in library_versions().items()),
        "machine": _machine,
        "room": _room,
        "mining": _mining,
        "encoder": _encoder,
        "workspace": _workspace,
        "store": _store,
        "contents": _contents,
        "at work": _at_work,
        "cluster": _cluster,
    }
    findings = []
    for subject, look in looks.items():
        try:
            found = look(config)
            findings.append(Finding(subject, str(found), concern=isinstance(found, _Concern)))
        except PipelineError as error:
            findings.append(Finding(subject, str(error), error))
    return findings


def print_findings(findings: list[Finding]) -> None:
    """A table on stderr."""
    table = Table(show_header=False)
    for finding in findings:
        table.add_row(finding.mark, finding.subject, finding.found)
    progress.log_table(table)


def _machine(config: RunConfig) -> str:
    node = look_at_node(config.cluster.cache_dir)
    gpus = ", ".join(f"{name} ({in_bytes(node.gpu_memory_bytes)})" for name in node.gpus)
    found = f"{platform.platform()}, {node.num_cpus} CPUs, {gpus or 'no GPU that torch can use'}"
    wants_gpu = config.training.device == "cuda" or config.cluster.gpus_per_actor > 0
    if wants_gpu and not node.gpus and config.cluster.address in (None, "local"):
        raise UnavailableError(
            f"the config asks for a GPU and this machine has none that torch can use ({found}): set training.device "
            "cpu and cluster.gpus_per_actor 0, or name a cluster"
        )
    return found


def _room(config: RunConfig) -> str:
    return describe_room(look_at_node(config.cluster.cache_dir))


def _mining(config: RunConfig) -> str:
    backend = resolve_backend(config.mining, config.cluster.actor_device)  # raises if it cannot be had
    node = look_at_node(config.cluster.cache_dir)
    return f"the config mines with backend {backend}; {node.native}; {node.faiss}"


def _encoder(config: RunConfig) -> str:
    encoder = build_encoder(config.encoder, config.transform)
    return f"{config.encoder.name}: {sum(parameter.numel() for parameter in encoder.parameters()):,} parameters"


def _workspace(config: RunConfig) -> str:
    workspace = Workspace.open(config.workspace, config.run)
    workspace.check_writable()
    return f"{workspace.store.uri}: writable, and creates conditionally"


def _store(config: RunConfig) -> str:
    speed = measure_speed(Workspace.open(config.workspace, config.run).store)
    small = (
        f"{seconds * 1e3:.1f} ms to {what}"
        for what, seconds in zip(
            ("create", "get", "delete"), (speed.create_s, speed.get_s, speed.delete_s), strict=True
        )
    )
    return (
        f"a few bytes take {', '.join(small)}; 8 MiB are written at {in_bytes(speed.write_bytes_per_s)}/s and read at "
        f"{in_bytes(speed.read_bytes_per_s)}/s"
    )


def _contents(config: RunConfig) -> str:
    workspace = Workspace.open(config.workspace, config.run)
    if corpora(workspace).latest() is None:
        return "no corpus yet: run jobs.prepare"
    corpus = Corpus.open(workspace)
    return (
        f"corpus {corpus.manifest.number} ({corpus.num_examples:,} examples, {len(corpus.label_names):,} labels), "
        f"run {config.run!r}: checkpoints {checkpoints(workspace).numbers()}, "
        f"generations {generations(workspace).numbers()}"
    )


def _at_work(config: RunConfig) -> str:
    leases = list_leases(Workspace.open(config.workspace, config.run).store)
    return "; ".join(f"{lease.record}, renewed {lease.age_s:.0f} s ago" for lease in leases) or "nobody"


def _cluster(config: RunConfig) -> str:
    required = required_resources(config, pool=True, trainer=True)
    joins = config.cluster.address not in (None, "local")
    as_it_is = config.cluster.model_copy(update={"wait_for_nodes_s": 0.0})
    with session(as_it_is, required):
        total = ray.cluster_resources()  # type: ignore[no-untyped-call]
        try:
            nodes = look_at_nodes(config.cluster.cache_dir) if joins else []
        except RayError as error:
            raise UnavailableError(
                f"a node of the cluster does not answer ({first_line(error)}): `ray status`"
            ) from error
    there = ", ".join(f"{total.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
    reserved = " and ".join(map(str, required))
    lines = [f"{config.cluster.address or 'local'}: {there}; jobs.loop reserves {reserved}"]
    lines += [f"{node.host}: {node.num_cpus} CPUs, {len(node.gpus)} GPUs; {describe_room(node)}" for node in nodes]
    concerns = differences(library_versions(), nodes)
    if joins and not is_token_auth_enabled():
        concerns.append(
            "no token: whoever reaches the cluster's ports runs code on it; start it and its jobs with "
            "RAY_AUTH_MODE=token"
        )
    elif joins:
        lines.append("a token is asked for")
    return _Concern("\n".join([*lines, *concerns])) if concerns else "\n".join(lines)
