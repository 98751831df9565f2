"""Runs the parts of the mining benchmark one after the other, and joins what they gave."""

from dataclasses import asdict
from typing import Any

from rich.table import Table

from pipeline.benchmark import mine
from pipeline.benchmark.ladder import measure_ladder
from pipeline.benchmark.machine import machine_facts
from pipeline.benchmark.peers import PEERS, load_peer, matrix_products
from pipeline.benchmark.plans import MinePlan
from pipeline.benchmark.results.table import make_table, spread
from pipeline.benchmark.synthetic import Size
from pipeline.benchmark.trained import load_trained
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.mining.backends.native.compiled import instruction_sets, unavailable_reason
from pipeline.mining.backends.native.ladder import InstructionSet
from pipeline.progress import log


def benchmark_mining(config: RunConfig, plan: MinePlan) -> dict[str, Any]:
    """Measures a backend against its peers.

    Raises:
        InputError: A backend or peer is missing.
        PipelineError: An exact backend disagrees with brute force.
    """
    _check_peers(plan)
    device = config.cluster.actor_device
    size = Size(plan.examples, plan.dims, plan.per_label, plan.anchors, plan.rounds, plan.threads, device)
    bench = mine.Bench(config.mining, size, _instruction_set(plan))
    trained, middle = plan.noises[min(1, len(plan.noises) - 1)], plan.noises[len(plan.noises) // 2]
    report: dict[str, Any] = {"size": asdict(size), "machine": _machine(bench), "cases": []}
    for num_positives in plan.positives:
        for noise in plan.noises:
            log(f"noise {noise:g}, {num_positives} positive(s) an anchor")
            report["cases"].append(mine.measure_case(bench.with_positives(num_positives), noise, plan.peers))
    one = bench.with_positives(1)
    report["trained"], report["ladder"] = [], []
    if plan.trained is not None:
        log(f"embeddings of {plan.trained}")
        stages = load_trained(plan.trained, config.run)
        report["trained"] = mine.measure_trained(one, stages[-1].shard, plan.peers)
        for stage in stages if bench.backend == "native" else []:
            log(f"each step of the ladder alone, checkpoint {stage.checkpoint_step}")
            steps = measure_ladder(one, stage.shard)
            report["ladder"].append({"checkpoint_step": stage.checkpoint_step, "steps": steps})
    log("a tenth of the candidates; a warm start")
    report["sample"] = [mine.measure_sample(one, noise, 0.1) for noise in dict.fromkeys((trained, middle))]
    report["warm_start"] = mine.measure_warm_start(one, middle)
    report["slow_peers"] = mine.measure_slow_peers(one, trained, plan.peers)
    report["scaling"] = mine.measure_scaling(one, plan.scaling, trained)
    return report


def _machine(bench: mine.Bench) -> dict[str, Any]:
    """What it was measured on, and its own limit."""
    size = bench.size
    return {
        **machine_facts(size.device, size.num_threads),
        "instruction_set": bench.instruction_set or (None if unavailable_reason() else instruction_sets()[-1]),
        "torch_mm_products_per_s": matrix_products(size),
    }


def _instruction_set(plan: MinePlan) -> InstructionSet | None:
    if plan.instruction_set is None:
        return None
    for name in instruction_sets():
        if name == plan.instruction_set:
            return name
    raise InputError(f"--instruction-set {plan.instruction_set}: this processor has {', '.join(instruction_sets())}")


def _check_peers(plan: MinePlan) -> None:
    for peer in plan.peers:
        if peer not in PEERS:
            raise InputError(f"--peers {peer} is not known: choose of {', '.join(PEERS)}")
        load_peer(peer)


def mining_table(report: dict[str, Any]) -> Table:
    """A row a kind of embeddings."""
    cases = [*report["cases"], *report["trained"]]
    others = list(dict.fromkeys(name for case in cases for name in case["times_as_fast_as"]))
    rows = []
    for case in cases:
        ratios = (case["times_as_fast_as"].get(name) for name in others)
        row = (
            f"{case['noise']:g}" if "noise" in case else f"trained, {case['question']}",
            f"{case['pairs_per_anchor']:.0f}",
            f"{case['products_per_s'][case['backend']] / 1e9:.2f}",
            case["step"] or "–",
            *(spread(one) if one else "–" for one in ratios),
            f"{case['missed_by_the_nearest_2048']:.0%}",
        )
        rows.append(row)
    headings = ("noise", "positives", "10⁹/s", "step", *others, "2,048 would miss")
    return make_table("times as fast, median (smallest–largest) of the rounds", headings, rows)
