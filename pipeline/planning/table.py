"""Plans as tables for people."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Column, Table

from pipeline.planning.plan import Plan
from pipeline.planning.stages import Compared
from pipeline.units import in_bytes, in_count, in_time

HEADINGS = ("examples", "embed", "audit", "mine", "in all", "bound by", "driver", "a node", "store", "between nodes")
"""Columns of the table of several plans; with a price also the cost."""


def show_plan(plan: Plan) -> RenderableType:
    """One plan in full."""
    work = plan.work
    title = (
        f"a refresh of {in_count(work.num_examples)} examples: {in_count(work.num_pairs)} pairs, "
        f"{in_count(plan.num_triplets)} triplets, {work.num_shards:,} shards"
    )
    times = Table("stage", Column("time", justify="right"), "bound by", title=title, title_justify="left")
    for stage in plan.stages:
        times.add_row(stage.name, in_time(stage.seconds), stage.bound_by)
    cost = "" if plan.cost is None else f"cost {plan.cost:,.2f}"
    times.add_row("in all", in_time(plan.seconds), cost or plan.bound_by.name, style="bold")
    if plan.train_s is not None:
        times.add_row("train, a round", in_time(plan.train_s), "")
    room = Table("what must fit", Column("takes", justify="right"), "of")
    for need in plan.needs:
        limit = "" if need.limit_bytes is None else in_bytes(need.limit_bytes)
        room.add_row(need.where, in_bytes(need.num_bytes), limit, style="" if need.fits else "bold red")
    traffic = (
        f"store: {in_bytes(plan.traffic.store_bytes)} read and written; between nodes: "
        f"{in_bytes(plan.traffic.node_bytes)}"
    )
    return Group(times, room, traffic, *(f"! {warning}" for warning in plan.warnings))


def rows_of(plans: Sequence[Plan]) -> list[tuple[str, ...]]:
    """A row a plan, under HEADINGS."""
    rows: list[tuple[str, ...]] = []
    for plan in plans:
        times = {stage.name: in_time(stage.seconds) for stage in plan.stages}
        bound = plan.bound_by
        row = (
            in_count(plan.work.num_examples),
            times["embed"],
            times.get("audit", "–"),
            times["mine"],
            in_time(plan.seconds),
            f"{bound.name}: {bound.bound_by}",
            in_bytes(plan.driver_bytes),
            in_bytes(plan.needs[0].num_bytes) + ("" if plan.needs[0].fits else " (!)"),
            in_bytes(plan.traffic.store_bytes),
            in_bytes(plan.traffic.node_bytes),
        )
        rows.append(row if plan.cost is None else (*row, f"{plan.cost:,.2f}"))
    return rows


def to_markdown(plans: Sequence[Plan]) -> list[str]:
    """The lines of a table of several plans, and what is in the way of the largest."""
    headings = HEADINGS if plans[0].cost is None else (*HEADINGS, "cost")
    rows = [headings, ("---",) * len(headings), *rows_of(plans)]
    size = in_count(plans[-1].work.num_examples)
    return [f"| {' | '.join(row)} |" for row in rows] + [f"! {size}: {warning}" for warning in plans[-1].warnings]


def show_check(rows: Sequence[Compared]) -> RenderableType:
    """Planned and measured, side by side."""
    table = Table("stage", "planned", "measured", "planned / measured")
    for stage, planned_s, measured_s in rows:
        ratio = planned_s / max(measured_s, 1e-9)
        table.add_row(stage, f"{planned_s:.2f} s", f"{measured_s:.2f} s", f"{ratio:.2f}")
    return table
