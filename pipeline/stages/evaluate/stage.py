"""Evaluates checkpoints side by side: embeds the corpus with each of them, and runs protocols on the embeddings."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.table import Table

from pipeline import progress
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import InputError
from pipeline.evaluation.plots.learning_curve import has_curve, plot_learning_curve
from pipeline.evaluation.report import to_markdown
from pipeline.progress import log
from pipeline.runtime.actor_pool import ActorPool
from pipeline.runtime.session import required_resources, session
from pipeline.stages.embed.stage import key_of
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.evaluate.context import EvaluationContext, build_context
from pipeline.stages.evaluate.protocols import DEFAULT_PROTOCOLS, PROTOCOLS, HasStandardErrors, Result
from pipeline.stages.job import Job
from pipeline.storage.leases import acquire_pins

ALL = "all"


class CheckpointRef(NamedTuple):
    """A reference to a checkpoint: its run and its step."""

    run: str
    step: int


@dataclass(frozen=True)
class EvaluationResults:
    """The results of all protocols on all checkpoints.

    Attributes:
        results: By name of the checkpoint ("main step 300"), in the order of the request, then by protocol.
        plot_uris: Of the plots that were written.
    """

    results: dict[str, dict[str, Result]]
    plot_uris: tuple[str, ...]

    def metrics(self) -> dict[str, dict[str, float]]:
        """The figures of merit of all protocols, by checkpoint."""
        return {name: _merged_metrics(by_protocol) for name, by_protocol in self.results.items()}

    def report(self) -> dict[str, Any]:
        """A JSON-able document."""
        details = {
            name: {"protocols": {protocol: result.to_dict() for protocol, result in by_protocol.items()}}
            for name, by_protocol in self.results.items()
        }
        evaluations = {name: metrics | details[name] for name, metrics in self.metrics().items()}
        return {"evaluations": evaluations, "pictures": list(self.plot_uris)}


def evaluate_checkpoints(
    job: Job, refs: Sequence[CheckpointRef], protocols: Sequence[str] = DEFAULT_PROTOCOLS
) -> EvaluationResults:
    """Evaluates checkpoints, whatever their architectures.

    Args:
        job: The run; each checkpoint is embedded with its own encoder and transform.
        refs: The checkpoints, the most important last.
        protocols: Names in PROTOCOLS; or ``all`` alone: those that this corpus and config have all they need for.

    Returns:
        The results; each is also written as JSON beside its run, plots and a table beside the last.

    Raises:
        InputError: The evaluation set is empty, a protocol lacks something, or a checkpoint was trained on labels of
            the evaluation set.
    """
    config, corpus = job.config, job.corpus
    jobs = [(job.of_run(run), step) for run, step in dict.fromkeys(refs)]
    manifests = [checkpoints(of_run.workspace).read(step) for of_run, step in jobs]
    names = _available_protocols(config, corpus, manifests, protocols)
    results: dict[str, dict[str, Result]] = {}
    steps: dict[str, int] = {}
    context: EvaluationContext | None = None
    read = [corpus.manifest_key, *(checkpoints(of_run.workspace).manifest_key(step) for of_run, step in jobs)]
    read += [f"{job.workspace.embeddings_prefix(key_of(config, corpus, manifest))}/" for manifest in manifests]
    with (
        acquire_pins(job.workspace.store, "an evaluation", *read).renewing(),
        ActorPool(config.cluster, EncodeWorker, config, corpus.manifest.number) as pool,
    ):
        for of_run, step in jobs:
            context = build_context(pool, of_run, step)
            by_protocol = results.setdefault(context.name, {})
            for name in names:
                by_protocol[name] = PROTOCOLS[name].evaluate(context)
                _write_result(context, name, by_protocol[name])
            if of_run.workspace.run == jobs[-1][0].workspace.run:
                steps[context.name] = step
        assert context is not None
        return EvaluationResults(results, _write_plots(context, results, names, steps))


def _available_protocols(
    config: RunConfig, corpus: Corpus, manifests: Sequence[CheckpointManifest], protocols: Sequence[str]
) -> list[str]:
    """Names of the protocols that will run, checked before any does."""
    for protocol in protocols:
        if protocol not in PROTOCOLS and list(protocols) != [ALL]:
            raise InputError(f"there is no protocol {protocol!r}: choose {ALL}, or from {', '.join(PROTOCOLS)}")
    names = list(PROTOCOLS) if list(protocols) == [ALL] else list(protocols)
    unavailable: dict[str, str] = {}
    for name, manifest in itertools.product(names, manifests):
        if reason := PROTOCOLS[name].unavailable_reason(config, corpus, manifest):
            unavailable[name] = reason
    if unavailable and names == list(protocols):
        raise InputError(next(iter(unavailable.values())))
    for name, reason in unavailable.items():
        log(f"left out: {name}, since {reason}")
    return [name for name in names if name not in unavailable]


def run_evaluation(job: Job, refs: Sequence[CheckpointRef], protocols: Sequence[str]) -> EvaluationResults:
    """The same as ``evaluate_checkpoints``, in a Ray session of its own."""
    with session(job.config.cluster, required_resources(job.config, pool=True, trainer=False)):
        return evaluate_checkpoints(job, refs, protocols)


def print_results(results: EvaluationResults) -> None:
    """Prints a short table for people, on stderr, and the URIs of the plots."""
    metrics = results.metrics()
    table = Table(title_justify="left")
    table.add_column("", no_wrap=True)
    for name in metrics:
        table.add_column(name, justify="right")
    for metric in dict.fromkeys(metric for figures in metrics.values() for metric in figures):
        cells = (f"{figures[metric]:.4f}" if metric in figures else "" for figures in metrics.values())
        table.add_row(metric, *cells)
    progress.log_table(table)
    for uri in results.plot_uris:
        log(f"picture: {uri}")


def _write_result(context: EvaluationContext, name: str, result: Result) -> None:
    """Writes a result as soon as it is there: the next protocol may fail."""
    provenance = context.provenance()
    if PROTOCOLS[name].uses_evaluation_set:
        provenance |= context.evaluation_set_provenance()
    context.workspace.put_json(f"{context.folder}/{name}.json", provenance | result.to_dict())


def _write_plots(
    last: EvaluationContext,
    results: Mapping[str, Mapping[str, Result]],
    protocols: Sequence[str],
    steps: Mapping[str, int],
) -> tuple[str, ...]:
    """Writes a table and each protocol's plots, of all checkpoints, beside the last one's results.

    Where several ``steps`` are of its run, a learning curve too.
    """
    plots: dict[str, bytes] = {}
    for name in protocols:
        plots |= PROTOCOLS[name].plot(last, {checkpoint: by_name[name] for checkpoint, by_name in results.items()})
    points = [(step, _merged_metrics(results[name])) for name, step in steps.items()]
    if len(points) > 1 and has_curve(points):
        errors = {step: _standard_errors(results[name]) for name, step in steps.items()}
        plots["learning-curve.png"] = plot_learning_curve(points, errors)
    workspace = last.workspace
    for file, png in plots.items():
        workspace.store.put(f"{last.folder}/{file}", png)
    table = to_markdown({checkpoint: _merged_metrics(by_name) for checkpoint, by_name in results.items()})
    workspace.store.put(f"{last.folder}/report.md", table.encode())
    return tuple(workspace.uri_of(f"{last.folder}/{file}") for file in plots)


def _merged_metrics(results: Mapping[str, Result]) -> dict[str, float]:
    return {metric: value for result in results.values() for metric, value in result.metrics().items()}


def _standard_errors(results: Mapping[str, Result]) -> dict[str, float]:
    """Of the metrics of those protocols that know them."""
    errors: dict[str, float] = {}
    for result in results.values():
        if isinstance(result, HasStandardErrors):
            errors |= result.standard_errors()
    return errors
