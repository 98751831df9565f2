"""A comparison as a Markdown document and as JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
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


def render_markdown(comparison: Comparison) -> str:
    """Writes the report; the best arm and the shares of images and wall time go by the main metric.

    Raises:
        InputError: The results have no such metric.
    """
    if MAIN_METRIC not in comparison.metrics:
        raise InputError(f"the results have no metric {MAIN_METRIC}: choose one of {', '.join(comparison.metrics)}")
    others = [summary for summary in comparison.arms if summary.arm != comparison.baseline]
    blocks = [f"# {len(comparison.arms)} ways of choosing triplets", _opening(comparison)]
    if others:
        blocks.append(_conclusion(comparison.baseline, others))
    blocks.append(_final_table(comparison))
    if others:
        blocks += [f"## Difference to {_code(comparison.baseline)}", _LEGEND, _difference_table(comparison, others)]
    if names := sorted({name for summary in comparison.arms for name in summary.facts}):
        blocks += ["## Means over the training", _fact_table(comparison, names)]
    if notes := _other_budgets(comparison):
        blocks += ["## Not equal", "\n".join(notes)]
    return "\n\n".join(blocks) + "\n"


_LEGEND = (
    "Means of the differences within a seed, which has the same initial weights and the same split for every arm. "
    "*better*, *worse*: the 95 % interval excludes 0, each interval for itself. "
    f"{DISJOINT}: the two arms' own intervals are disjoint as well."
)


def _opening(comparison: Comparison) -> str:
    label = metric_label(MAIN_METRIC)
    return (
        f"The baseline is {_code(comparison.baseline)}; the budget is {comparison.budget:,} images forwarded in each "
        "seed of each arm. Values on held-out labels at the end of the budget: mean over the seeds ± half the 95 % "
        f"interval (Student's t), {UNKNOWN} with one seed. Bold: the highest mean {label}. *Gain*: the difference to "
        f"the baseline. *Images to it*, *wall to it*: the share of the baseline's images and wall seconds needed for "
        f"the {label} that the baseline ends with in that seed. *Refresh*: the share of embedding and mining in the "
        "wall seconds."
    )


def _conclusion(baseline: str, others: Sequence[ArmSummary]) -> str:
    by_verdict: dict[str, list[str]] = {"better": [], "worse": [], "undecided": []}
    for summary in others:
        if (difference := summary.metrics[MAIN_METRIC].difference) is not None:
            by_verdict[difference.verdict].append(_code(summary.arm))
    said = "; ".join(f"**{verdict}**: {', '.join(arms)}" for verdict, arms in by_verdict.items() if arms)
    return f"In {metric_label(MAIN_METRIC)}, against {_code(baseline)}: {said}."


def _final_table(comparison: Comparison) -> str:
    best, label = comparison.best(MAIN_METRIC), metric_label(MAIN_METRIC)
    others = [metric for metric in comparison.metrics if metric != MAIN_METRIC]
    rows = []
    for summary in comparison.arms:
        main = summary.metrics[MAIN_METRIC]
        bold = "**" if summary.arm == best else ""
        row = (
            f"{bold}{_code(summary.arm)}{bold}{' (baseline)' if summary.arm == comparison.baseline else ''}",
            str(len(summary.seeds)),
            f"{bold}{_estimate(main.final)}{bold}",
            *(_estimate(summary.metrics[metric].final) for metric in others),
            _difference(main.difference),
            _reach(main.images),
            _reach(main.seconds),
            _estimate(summary.wall_s, ",.0f"),
            f"{summary.refresh_share.mean:.0%}",
        )
        rows.append(row)
    values = ("seeds", label, *map(metric_label, others))
    return _table(("arm", *values, f"{label} gain", "images to it", "wall to it", "wall s", "refresh"), rows)


def _difference_table(comparison: Comparison, others: Sequence[ArmSummary]) -> str:
    rows = [
        (_code(summary.arm), *(_verdict(summary.metrics[metric].difference) for metric in comparison.metrics))
        for summary in others
    ]
    return _table(("arm", *map(metric_label, comparison.metrics)), rows)


def _fact_table(comparison: Comparison, names: Sequence[str]) -> str:
    rows = [
        (_code(arm.arm), *(f"{arm.facts[name].mean:.4g}" if name in arm.facts else UNKNOWN for name in names))
        for arm in comparison.arms
    ]
    return _table(("arm", *(name.replace("_", " ") for name in names)), rows)


def _other_budgets(comparison: Comparison) -> list[str]:
    return [
        f"- Another budget: {_code(summary.arm)} forwarded {_images(summary.images)} images."
        for summary in comparison.arms
        if any(abs(images - comparison.budget) > BUDGET_TOLERANCE * comparison.budget for images in summary.images)
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


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


def _images(images: tuple[int, int]) -> str:
    return " to ".join(f"{count:,}" for count in sorted(set(images)))


def _code(name: str) -> str:
    """A name as code; a bar would end the cell of a table."""
    return f"`{name}`".replace("|", "\\|")
