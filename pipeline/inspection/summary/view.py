"""Formats the summary of a generation for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table

from pipeline.inspection.summary.statistics import MAX_COUNTED_PER_ANCHOR
from pipeline.inspection.summary.summary import QUANTILES
from pipeline.inspection.tables import text_table
from pipeline.progress import plain_text

NONE = "–"


def format_summary(report: Mapping[str, Any]) -> list[RenderableType]:
    """Tables of the result of ``summarise``, to which the key ``against`` may add triplets that were scored again."""
    distances = report["quantiles"]
    quantiles = [(name, *(_number(values[name]) for values in distances.values())) for name in QUANTILES]
    hubs = [
        (str(hub["example_id"]), hub["label"], f"{hub['num_triplets']:,}", _percent(hub["share"], 2))
        for hub in report["hubs"]["examples"]
    ]
    quarantine = [
        (reason, f"{counts['num']:,}", f"{counts['num_excluded']:,}")
        for reason, counts in report["quarantine"].items()
        if counts["num"]
    ]
    staleness = [_staleness_row("trainer", measurement) for measurement in report["trained"]]
    if against := report.get("against"):
        staleness.append(_staleness_row(f"here, {against['num_triplets']:,} triplets", against))
    tables = (
        ("Quantiles", ("", "d_ap", "d_an", "d_an - d_ap"), quantiles if report["num_triplets"] else []),
        ("Most frequent negatives", ("example", "label", "triplets", "share"), hubs),
        ("Quarantine", ("reason", "found", "excluded"), quarantine),
        ("Under other weights", ("step", "measured by", "active", "in band", "d_ap drift", "d_an drift"), staleness),
    )
    return [_facts(report), *(_table(title, columns, rows) for title, columns, rows in tables if rows)]


def _facts(report: Mapping[str, Any]) -> Table:
    table = Table(
        title=plain_text(f"Generation {report['generation']} of run {report['run']}"),
        title_justify="left",
        show_header=False,
        box=box.SIMPLE,
    )
    for name, text in _fact_lines(report):
        table.add_row(plain_text(name), plain_text(text))
    return table


def _fact_lines(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    band, anchors, coverage, hubs = (report[name] for name in ("band", "anchors", "coverage", "hubs"))
    audit, storage, num_triplets = report["audit"], report["storage"], report["num_triplets"]
    yield "mined", f"from checkpoint {report['checkpoint_step']} and corpus {report['corpus']}, {report['created_at']}"
    yield "triplets", f"{num_triplets:,}"
    for kind, count in report["kinds"].items():
        yield f"  {kind}", f"{count:,}" + (f" ({_percent(count / num_triplets)})" if num_triplets else "")
    yield "band", band["words"]
    answered = f"{band['num_pairs_answered']:,} of {band['num_pairs']:,} ({_percent(band['yield'])})"
    yield "  pairs answered", answered
    yield "anchors", f"{anchors['num']:,}"
    for name in ("triplets", "positives"):
        yield f"  {name} each", _per_anchor(anchors[name])
    yield "labels with an anchor", _coverage(coverage, "label", "num_labels", "num_train_labels")
    yield "examples in any role", _coverage(coverage, "example", "num_examples", "num_train_examples")
    yield (
        "hubs",
        f"{_percent(hubs['share_held_by_top'])} of the triplets have one of {hubs['num_top']:,} negatives "
        f"({_percent(hubs['top_share'])} of the training examples)",
    )
    if num_left_out := audit.get("num_triplets_left_out_by_hubs"):
        yield "  left out", f"{num_left_out:,.0f} triplets of hubs beyond their cap"
    yield "embeddings", f"spread {_number(audit['spread'])}, effective rank {_number(audit['effective_rank'], 1)}"
    if (accuracy := audit.get("neighbour_accuracy")) is not None:
        yield "nearest is a positive", f"for {_percent(accuracy)} of the training examples that have one"
    yield "brute force agrees", f"{_percent(audit['agreement'], 2)} of {audit['num_pairs_verified']:,} pairs"
    rate = storage["triplets_per_s"]
    yield (
        "stored",
        f"{storage['num_bytes']:,} bytes in {storage['num_shards']} shard(s), "
        f"{_number(storage['bytes_per_triplet'], 1)} a triplet"
        + (f"; read here at {rate:,.0f} triplets/s" if rate else ""),
    )


def _per_anchor(counts: Mapping[str, float | None]) -> str:
    if counts["mean"] is None or counts["most"] is None:
        return NONE
    more = " or more" if counts["most"] == MAX_COUNTED_PER_ANCHOR else ""
    return f"{counts['mean']:.1f} in the mean, median {counts['median']}, most {counts['most']}{more}"


def _coverage(coverage: Mapping[str, Any], what: str, num: str, of: str) -> str:
    return f"{coverage[num]:,} of {coverage[of]:,} for training ({_percent(coverage[f'{what}_share'])})"


def _staleness_row(measured_by: str, measurement: Mapping[str, Any]) -> tuple[str, ...]:
    shares = (_percent(measurement.get(f"listed_{name}_share")) for name in ("active", "in_band"))
    drifts = (_number(measurement.get(f"{name}_drift"), sign="+") for name in ("d_ap", "d_an"))
    return (str(measurement["step"]), measured_by, *shares, *drifts)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    left = {"", "example", "label", "reason", "measured by"}
    return text_table(title, columns, rows, right=set(columns) - left, frame=box.SIMPLE)


def _number(value: float | None, digits: int = 4, sign: str = "") -> str:
    return NONE if value is None else f"{value:{sign}.{digits}f}"


def _percent(share: float | None, digits: int = 1) -> str:
    return NONE if share is None else f"{share:.{digits}%}"
