"""Plan: what one refresh would take on a given cluster — memory, disk, traffic, time of each stage, money.

Rates are measured here, by the code that a refresh runs, or come from a file that was measured elsewhere.
"""

import argparse

from jobs.cli import Answer, open_job, run_job
from jobs.planning import add_flags, cluster_of, read_rates
from pipeline.benchmark.train_lap import measure_step
from pipeline.config import RunConfig
from pipeline.planning.chart import draw_plans
from pipeline.planning.measure.plan import check_plan, plans_of
from pipeline.planning.measure.stage import measure_rates
from pipeline.planning.table import show_check, show_plan, to_markdown


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Measures or reads rates, and multiplies."""
    if flags.check:
        rows = check_plan(open_job(config))
        return Answer({"stages": [row._asdict() for row in rows]}, [show_check(rows)])
    if flags.rates is not None:
        rates = read_rates(flags.rates)
    else:
        job = open_job(config)
        rates = measure_rates(job, measure_step(config, job.corpus))
    if flags.measure is not None:
        flags.measure.write_text(rates.model_dump_json(indent=1) + "\n")
    sizes = flags.examples or [rates.corpus.num_examples]
    plans = plans_of(config, rates, cluster_of(rates, flags), sizes)
    if flags.picture is not None:
        flags.picture.write_bytes(draw_plans(plans))
    shown = [show_plan(plans[0])] if len(plans) == 1 else to_markdown(plans)
    return Answer({"machine": rates.machine.model_dump(), "plans": [plan.to_dict() for plan in plans]}, shown)


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
