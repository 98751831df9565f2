"""Plans a refresh from what was measured here, and checks a plan against a refresh."""

import os
import time
import uuid
from collections.abc import Sequence

from pipeline.config import RunConfig
from pipeline.planning.cluster import PlannedCluster
from pipeline.planning.measure.stage import measure_rates
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.rates import Rates
from pipeline.planning.stages import Compared
from pipeline.progress import log, stopwatch
from pipeline.stages.job import Job
from pipeline.stages.mine.job import mine_once
from pipeline.stages.mine.shards import num_shards
from pipeline.storage.workspace import Workspace

_TIMED = ("embed", "audit", "mine")
"""Stages that show their own progress; what lies between them is looked at together."""
REST = "the rest"
_BUSY = 0.25  # of the cores


def plan_refresh(job: Job, train_s_per_step: float | None = None) -> Plan:
    """Measures, and plans a refresh of the corpus on the machines at hand; see ``measure_rates``."""
    rates = measure_rates(job, train_s_per_step)
    return plans_of(job.config, rates, PlannedCluster(rates.machine, rates.num_nodes), [job.corpus.num_examples])[0]


def plans_of(config: RunConfig, rates: Rates, cluster: PlannedCluster, sizes: Sequence[int]) -> list[Plan]:
    """A plan for each number of examples.

    Raises:
        InputError: The rates are of another config.
    """
    rates.check_fit(config)
    return [make_plan(config, rates, cluster, size, num_shards(config, size)) for size in sizes]


def check_plan(job: Job) -> list[Compared]:
    """Plans, then refreshes, and sets the two side by side, stage by stage and in all.

    The refresh is of a run of its own with the initial encoder, and is deleted again. Its embeddings stay, as those of
    any run that begins with this seed; where they lie there already, embedding is left out on both sides.
    """
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    if busy > _BUSY * cores:
        log(f"note: this machine is at work already (load {busy:.1f} on {cores} cores): a plan is for one that is not")
    run = f"plan-{uuid.uuid4().hex[:8]}"
    place = Workspace(job.workspace.store, run)
    trial = Job(job.config.model_copy(update={"run": run}), place, job.corpus)
    try:
        plan = plan_refresh(trial)
        begun = time.perf_counter()
        with stopwatch() as measured:
            mine_once(trial)
        total_s = time.perf_counter() - begun
    finally:
        for key in place.store.list(f"runs/{run}"):
            place.store.delete(key)
    planned = {stage.name: stage.seconds for stage in plan.stages}
    if "embed" not in measured:
        del planned["embed"]
    rows = [Compared(name, planned.pop(name), measured[name]) for name in _TIMED if name in planned]
    rows.append(Compared(REST, sum(planned.values()), total_s - sum(row.measured_s for row in rows)))
    return [*rows, Compared("in all", sum(row.planned_s for row in rows), total_s)]
