"""Evaluate: embed the corpus with some checkpoints, and measure them side by side by one or more protocols."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from pipeline import progress
from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import InputError
from pipeline.evaluation.plots.learning_curve import draw_learning_curve, has_curve
from pipeline.evaluation.report import to_markdown
from pipeline.progress import say
from pipeline.runtime.actor_pool import ActorPool
from pipeline.runtime.session import required_resources, session
from pipeline.stages.embed.stage import key_of
from pipeline.stages.embed.worker import EncodeWorker
from pipeline.stages.evaluate.examination import Examination, examine
from pipeline.stages.evaluate.protocols import DEFAULT_PROTOCOLS, PROTOCOLS, HasStandardErrors, Result
from pipeline.storage.leases import acquire_pins
from pipeline.storage.workspace import Workspace

Wanted = tuple[str, int]
"""A checkpoint: its run and its step."""

ALL = "all"


@dataclass(frozen=True)
class Comparison:
    """What was measured.

    Attributes:
        results: By name of the checkpoint ("main step 300"), in the order asked for, then by protocol.
        pictures: URIs of what was drawn.
    """

    results: dict[str, dict[str, Result]]
    pictures: tuple[str, ...]

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
        return {"evaluations": evaluations, "pictures": list(self.pictures)}


def parse_checkpoints(workspace: Workspace, text: str) -> list[Wanted]:
    """What a name of checkpoints means.

    Args:
        workspace: Its run is meant where none is named.
        text: A step; ``latest`` or ``all``; RUN, for its newest; or RUN:STEP, RUN:latest, RUN:all.

    Raises:
        InputError: There is no such checkpoint.
    """
    run, colon, which = text.partition(":")
    if not colon:
        is_step = run.isdecimal() or run in ("latest", "all")
        run, which = (workspace.run, run) if is_step else (run, "latest")
    numbers = checkpoints(Workspace(workspace.store, run)).numbers()
    if not numbers:
        raise InputError(f"run {run!r} has no checkpoint in {workspace.store.uri}: run jobs.train or jobs.loop first")
    if which == "all":
        return [(run, number) for number in numbers]
    if which == "latest":
        return [(run, numbers[-1])]
    if not which.isdecimal() or int(which) not in numbers:
        raise InputError(f"run {run!r} has no checkpoint {which!r}: choose latest, all or one of {numbers}")
    return [(run, int(which))]


def evaluate_checkpoints(
    config: RunConfig,
    workspace: Workspace,
    corpus: Corpus,
    wanted: Sequence[Wanted],
    protocols: Sequence[str] = DEFAULT_PROTOCOLS,
) -> Comparison:
    """Measures checkpoints, whatever their architectures.

    Args:
        config: The run; each checkpoint is embedded with its own encoder and transform.
        workspace: Where the checkpoints are, and where results go.
        corpus: The pinned corpus.
        wanted: The checkpoints, the one that matters last.
        protocols: Names in PROTOCOLS; or ``all`` alone: those that this corpus and config have all they need for.

    Returns:
        The results; each is also written as JSON beside its run, pictures and a table beside the last.

    Raises:
        InputError: There is nothing to measure on, a protocol lacks something, or a checkpoint was trained on what it
            would be measured on.
    """
    places = [(Workspace(workspace.store, run), step) for run, step in dict.fromkeys(wanted)]
    manifests = [checkpoints(place).read(step) for place, step in places]
    chosen = _choose(config, corpus, manifests, protocols)
    results: dict[str, dict[str, Result]] = {}
    steps: dict[str, int] = {}
    one: Examination | None = None
    read = [corpus.manifest_key, *(checkpoints(place).manifest_key(step) for place, step in places)]
    read += [f"{workspace.embeddings_prefix(key_of(config, corpus, manifest))}/" for manifest in manifests]
    with (
        acquire_pins(workspace.store, "an evaluation", *read).renewing(),
        ActorPool(config.cluster, EncodeWorker, config, corpus.manifest.number) as pool,
    ):
        for place, step in places:
            one = examine(pool, config, place, corpus, step)
            found = results.setdefault(one.name, {})
            for name in chosen:
                found[name] = PROTOCOLS[name].measure(one)
                _write_result(one, name, found[name])
            if place.run == places[-1][0].run:
                steps[one.name] = step
        assert one is not None
        return Comparison(results, _write_pictures(one, results, chosen, steps))


def _choose(
    config: RunConfig, corpus: Corpus, manifests: Sequence[CheckpointManifest], protocols: Sequence[str]
) -> list[str]:
    """The protocols that will be measured, checked before anything is."""
    for protocol in protocols:
        if protocol not in PROTOCOLS and list(protocols) != [ALL]:
            raise InputError(f"there is no protocol {protocol!r}: choose {ALL}, or from {', '.join(PROTOCOLS)}")
    names = list(PROTOCOLS) if list(protocols) == [ALL] else list(protocols)
    lacks = {name: why for name in names for one in manifests if (why := PROTOCOLS[name].why_not(config, corpus, one))}
    if lacks and names == list(protocols):
        raise InputError(next(iter(lacks.values())))
    for name, why in lacks.items():
        say(f"left out: {name}, since {why}")
    return [name for name in names if name not in lacks]


def evaluate_alone(
    config: RunConfig, workspace: Workspace, corpus: Corpus, wanted: Sequence[Wanted], protocols: Sequence[str]
) -> Comparison:
    """The same as ``evaluate_checkpoints``, in a job of its own."""
    with session(config.cluster, required_resources(config, pool=True, trainer=False)):
        return evaluate_checkpoints(config, workspace, corpus, wanted, protocols)


def show(comparison: Comparison) -> None:
    """A short table for people, on stderr, and where the pictures are."""
    metrics = comparison.metrics()
    table = Table(title_justify="left")
    table.add_column("", no_wrap=True)
    for name in metrics:
        table.add_column(name, justify="right")
    for metric in dict.fromkeys(metric for found in metrics.values() for metric in found):
        cells = (f"{found[metric]:.4f}" if metric in found else "" for found in metrics.values())
        table.add_row(metric, *cells)
    progress.show(table)
    for picture in comparison.pictures:
        say(f"picture: {picture}")


def _write_result(one: Examination, name: str, result: Result) -> None:
    """As soon as it is there: the next protocol may fail."""
    provenance = one.provenance()
    if PROTOCOLS[name].measures_subject:
        provenance |= one.subject_provenance()
    document = json.dumps(provenance | result.to_dict(), indent=2, allow_nan=False) + "\n"
    one.workspace.store.put(f"{one.folder}/{name}.json", document.encode())


def _write_pictures(
    last: Examination,
    results: Mapping[str, Mapping[str, Result]],
    protocols: Sequence[str],
    steps: Mapping[str, int],
) -> tuple[str, ...]:
    """A table and each protocol's pictures, of all checkpoints, beside the last one.

    Where several ``steps`` are of its run, a learning curve too.
    """
    pictures: dict[str, bytes] = {}
    for name in protocols:
        pictures |= PROTOCOLS[name].draw(last, {one: found[name] for one, found in results.items()})
    points = [(step, _merged_metrics(results[name])) for name, step in steps.items()]
    if len(points) > 1 and has_curve(points):
        errors = {step: _standard_errors(results[name]) for name, step in steps.items()}
        pictures["learning-curve.png"] = draw_learning_curve(points, errors)
    store, root = last.workspace.store, last.workspace.store.uri.rstrip("/")
    for file, png in pictures.items():
        store.put(f"{last.folder}/{file}", png)
    table = to_markdown({name: _merged_metrics(found) for name, found in results.items()})
    store.put(f"{last.folder}/report.md", table.encode())
    return tuple(f"{root}/{last.folder}/{file}" for file in pictures)


def _merged_metrics(results: Mapping[str, Result]) -> dict[str, float]:
    return {metric: value for result in results.values() for metric, value in result.metrics().items()}


def _standard_errors(results: Mapping[str, Result]) -> dict[str, float]:
    """Of the metrics of those protocols that know them."""
    errors: dict[str, float] = {}
    for result in results.values():
        if isinstance(result, HasStandardErrors):
            errors |= result.standard_errors()
    return errors
