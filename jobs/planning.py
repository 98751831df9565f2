"""What ``jobs.plan`` and ``--dry-run`` share: the cluster that is planned for, and where rates come from."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from jobs.cli import Answer
from pipeline.benchmark.train_lap import measure_step
from pipeline.errors import InputError
from pipeline.planning.cluster import PlannedCluster
from pipeline.planning.measure.plan import plan_refresh
from pipeline.planning.rates import Rates
from pipeline.planning.table import show_plan
from pipeline.stages.job import Job

_GB = 1e9
_GBIT = 1e9 / 8


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument(
        "--examples", type=_count, nargs="+", help="plan for so many instead of the corpus's; 1e9 is fine"
    )
    parser.add_argument("--nodes", type=_count, help="nodes; by default as many as were measured on")
    parser.add_argument("--cpus", type=_count, help="cores of a node; by default, as all that follows, as measured")
    parser.add_argument("--memory-gb", type=_amount, help="memory of a node")
    parser.add_argument("--disk-gb", type=_amount, help="free disk of a node, for spills and caches")
    parser.add_argument("--network-gbit", type=_amount, default=10.0, help="each node's link (default 10)")
    parser.add_argument("--price", type=_amount, help="of a node for an hour, in any currency")
    parser.add_argument("--rates", type=Path, metavar="FILE", help="rates that --measure wrote, here or elsewhere")
    parser.add_argument("--measure", type=Path, metavar="FILE", help="write the rates that were measured here")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="of several --examples: a PNG of time by stage")
    parser.add_argument("--check", action="store_true", help="refresh, too, and compare; what it publishes is deleted")


def answer_plan(job: Job) -> Answer:
    """Measures here, and plans for here."""
    plan = plan_refresh(job, measure_step(job.config, job.corpus))
    return Answer(plan.to_dict(), [show_plan(plan)])


def cluster_of(rates: Rates, flags: argparse.Namespace) -> PlannedCluster:
    """Nodes like the measured one, but for what the command line says."""
    given = {
        "num_cpus": flags.cpus,
        "memory_bytes": flags.memory_gb and flags.memory_gb * _GB,
        "disk_free_bytes": flags.disk_gb and flags.disk_gb * _GB,
    }
    machine = rates.machine.model_copy(update={name: value for name, value in given.items() if value is not None})
    return PlannedCluster(machine, flags.nodes or rates.num_nodes, flags.network_gbit * _GBIT, flags.price)


def read_rates(path: Path) -> Rates:
    """Reads a file of rates.

    Raises:
        InputError: There is none, or it is none.
    """
    try:
        return Rates.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"--rates {path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise InputError(
            f"--rates {path} is no file of rates ({place}: {problem['msg']}): write one with --measure"
        ) from None


def _count(text: str) -> int:
    number = int(float(text))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _amount(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number
