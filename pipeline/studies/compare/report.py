"""A comparison as a Markdown document and as JSON."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluation.metric_names import metric_label
from pipeline.studies.compare.statistics import Difference, Estimate, Reach
from pipeline.studies.compare.summary import ArmSummary, Comparison

MAIN_METRIC = "recall_at_1"
UNKNOWN = "–"
DISJOINT = "†"
# A budget ends with a whole batch or round: so much more or less still counts as equal.
BUDGET_TOLERANCE = 0.02


def to_document(comparison: Comparison) -> dict[str, Any]:
    """Everything that the report says, and the other metrics' shares, for a JSON file.

    An estimate is ``{mean, half_width, num}``; its half-width is null with one seed.
    """
    return asdict(comparison) | {"best": {metric: comparison.best(metric) for metric in comparison.metrics}}


def render_markdown(comparison: Comparison, main_metric: str = MAIN_METRIC) -> str:
    """Writes the report.

    Args:
        comparison: What was measured.
        main_metric: Metric that the best arm and the shares of images and wall time go by.

    Raises:
        InputError: The results have no such metric.
    """
    if main_metric not in comparison.metrics:
        raise InputError(f"the results have no metric {main_metric}: choose one of {', '.join(comparison.metrics)}")
    blocks = [
        f"# {len(comparison.arms)} ways of choosing triplets",
        _opening(comparison, main_metric),
        _table(_final_columns(comparison, main_metric), comparison.arms),
    ]
    others = [summary for summary in comparison.arms if summary.arm != comparison.baseline]
    if any(summary.metrics[main_metric].difference for summary in others):
        blocks.insert(2, _conclusion(comparison.baseline, others, main_metric))
        blocks += [f"## Difference to {_code(comparison.baseline)}", _LEGEND, _difference_table(comparison, others)]
    if names := sorted({name for summary in comparison.arms for name in summary.facts}):
        blocks += ["## Means over the training", _fact_table(comparison, names)]
    if notes := list(_notes(comparison)):
        blocks += ["## Not equal, or not there", "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(blocks) + "\n"


_LEGEND = (
    "Means of the differences within a seed, which has the same initial weights and the same split for every arm. "
    "*better*, *worse*: the 95 % interval excludes 0, each interval for itself. "
    f"{DISJOINT}: the two arms' own intervals are disjoint as well."
)

Column = tuple[str, Callable[[ArmSummary], str]]


def _opening(comparison: Comparison, main_metric: str) -> str:
    label = metric_label(main_metric)
    return (
        f"The baseline is {_code(comparison.baseline)}; the budget is {comparison.budget:,} images forwarded in each "
        "seed of each arm. Values on held-out labels at the end of the budget: mean over the seeds ± half the 95 % "
        f"interval (Student's t), {UNKNOWN} with one seed. Bold: the highest mean {label}. *Gain*: the difference to "
        f"the baseline. *Images to it*, *wall to it*: the share of the baseline's images and wall seconds needed for "
        f"the {label} that the baseline ends with in that seed. *Refresh*: the share of embedding and mining in the "
        "wall seconds."
    )


def _conclusion(baseline: str, others: Sequence[ArmSummary], main_metric: str) -> str:
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    for summary in others:
        if (difference := summary.metrics[main_metric].difference) is not None:
            by_verdict[difference.verdict].append(_code(summary.arm))
    said = "; ".join(f"**{verdict}**: {', '.join(arms)}" for verdict, arms in by_verdict.items() if arms)
    return f"In {metric_label(main_metric)}, against {_code(baseline)}: {said}."


def _final_columns(comparison: Comparison, main_metric: str) -> list[Column]:
    best = comparison.best(main_metric)

    def value_of(metric: str) -> Callable[[ArmSummary], str]:
        def text(summary: ArmSummary) -> str:
            value = _estimate(summary.metrics[metric].final)
            return f"**{value}**" if metric == main_metric and summary.arm == best else value

        return text

    def name(summary: ArmSummary) -> str:
        text = f"**{_code(summary.arm)}**" if summary.arm == best else _code(summary.arm)
        return f"{text} (baseline)" if summary.arm == comparison.baseline else text

    ordered = sorted(comparison.metrics, key=lambda metric: metric != main_metric)
    return [
        ("arm", name),
        ("seeds", lambda summary: str(len(summary.seeds))),
        *((metric_label(metric), value_of(metric)) for metric in ordered),
        (f"{metric_label(main_metric)} gain", lambda summary: _difference(summary.metrics[main_metric].difference)),
        ("images to it", lambda summary: _reach(summary.metrics[main_metric].images)),
        ("wall to it", lambda summary: _reach(summary.metrics[main_metric].seconds)),
        ("wall s", lambda summary: _estimate(summary.wall_s, ",.0f")),
        ("refresh", lambda summary: f"{summary.refresh_share.mean:.0%}"),
    ]


def _difference_table(comparison: Comparison, others: Sequence[ArmSummary]) -> str:
    def difference_of(metric: str) -> Callable[[ArmSummary], str]:
        return lambda summary: _verdict(summary.metrics[metric].difference)

    columns: list[Column] = [("arm", lambda summary: _code(summary.arm))]
    return _table([*columns, *((metric_label(metric), difference_of(metric)) for metric in comparison.metrics)], others)


def _fact_table(comparison: Comparison, names: Sequence[str]) -> str:
    def fact_of(name: str) -> Callable[[ArmSummary], str]:
        return lambda summary: f"{summary.facts[name].mean:.4g}" if name in summary.facts else UNKNOWN

    columns: list[Column] = [("arm", lambda summary: _code(summary.arm))]
    return _table([*columns, *((name.replace("_", " "), fact_of(name)) for name in names)], comparison.arms)


def _notes(comparison: Comparison) -> Iterable[str]:
    for arm, pairs in groupby(comparison.missing, key=lambda pair: pair[0]):
        yield f"Not yet run: {_code(arm)}, {_seeds([seed for _, seed in pairs])}."
    baseline = next((summary for summary in comparison.arms if summary.arm == comparison.baseline), None)
    if baseline is None:
        yield f"Nothing is compared, for the baseline {_code(comparison.baseline)} is not yet run."
    for summary in comparison.arms:
        if any(abs(images - comparison.budget) > BUDGET_TOLERANCE * comparison.budget for images in summary.images):
            yield f"Another budget: {_code(summary.arm)} forwarded {_images(summary.images)} images."
        if baseline is not None and summary.seeds != baseline.seeds:
            shared = sorted({*summary.seeds} & {*baseline.seeds})
            over = f"over {_seeds(shared)} alone" if shared else "not at all, for they share no seed"
            yield f"{_code(summary.arm)} is compared with the baseline {over}."


def _table(columns: Sequence[Column], rows: Iterable[ArmSummary]) -> str:
    head = [title for title, _ in columns]
    rule = ["---", *["---:"] * (len(columns) - 1)]
    lines = [head, rule, *([text(row) for _, text in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _estimate(value: Estimate, spec: str = ".4f", sign: str = "") -> str:
    half_width = UNKNOWN if value.half_width is None else format(value.half_width, spec)
    return f"{value.mean:{sign}{spec}} ± {half_width}"


def _difference(difference: Difference | None) -> str:
    return UNKNOWN if difference is None else _estimate(difference.paired, sign="+")


def _verdict(difference: Difference | None) -> str:
    if difference is None:
        return UNKNOWN
    return f"{_difference(difference)} {difference.verdict}{DISJOINT if difference.disjoint else ''}"


def _reach(reach: Reach | None) -> str:
    if reach is None:
        return UNKNOWN
    if reach.num_reached == 0:
        return "not reached"
    if reach.is_lower_bound:
        return f"> {reach.share.mean:.0%} ({reach.num_reached} of {reach.share.num} seeds)"
    return _estimate(reach.share, ".0%")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _images(images: tuple[int, int]) -> str:
    return " to ".join(f"{count:,}" for count in sorted(set(images)))


def _code(name: str) -> str:
    """A name as code; a bar would end the cell of a table."""
    return f"`{name}`".replace("|", "\\|")
