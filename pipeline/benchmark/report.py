"""Runs the parts of the mining benchmark one after the other, and writes what they gave."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.benchmark import mine
from pipeline.benchmark.chart import draw_mining
from pipeline.benchmark.peers import PEERS, load_peer
from pipeline.config import MiningConfig
from pipeline.errors import InputError
from pipeline.progress import say


@dataclass(frozen=True)
class Plan:
    """What to measure; see ``jobs.benchmark --help``."""

    examples: int
    dims: int
    per_label: int
    anchors: int
    rounds: int
    threads: int
    noises: tuple[float, ...]
    positives: tuple[int, ...]
    peers: tuple[str, ...]
    scaling: tuple[int, ...]
    device: str


def benchmark_mining(config: MiningConfig, plan: Plan, output: Path) -> dict[str, Any]:
    """Measures, writes ``mine.json`` and ``mine.png``, and returns the report.

    Raises:
        InputError: A backend or peer is missing, or a number makes no sense.
        PipelineError: An exact backend disagrees with brute force.
    """
    _check(plan)
    size = mine.Size(plan.examples, plan.dims, plan.per_label, plan.anchors, plan.rounds, plan.threads, plan.device)
    middle = plan.noises[len(plan.noises) // 2]
    report: dict[str, Any] = {"size": asdict(size), "machine": mine.machine(plan.dims, plan.threads), "cases": []}
    for num_positives in plan.positives:
        asked = mine.with_positives(config, num_positives)
        for noise in plan.noises:
            say(f"noise {noise:g}, {num_positives} positive(s) an anchor")
            report["cases"].append(mine.measure_case(asked, size, noise, plan.peers))
    asked = mine.with_positives(config, plan.positives[0])
    say("a tenth of the candidates; a warm start")
    report["sample"] = mine.measure_sample(asked, size, middle, 0.1)
    report["warm_start"] = mine.measure_warm_start(asked, size, middle)
    report["slow_peers"] = mine.measure_slow_peers(asked, size, plan.noises[0], plan.peers)
    report["scaling"] = mine.measure_scaling(asked, size, plan.scaling, plan.noises[min(1, len(plan.noises) - 1)])
    output.mkdir(parents=True, exist_ok=True)
    (output / "mine.json").write_text(json.dumps(report, indent=2) + "\n")
    draw_mining(report, output / "mine.png")
    _show(report)
    say(f"written: {output / 'mine.json'}, {output / 'mine.png'}")
    return report


def _check(plan: Plan) -> None:
    for name in ("examples", "dims", "per_label", "anchors", "rounds", "threads"):
        if getattr(plan, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(plan, name)}: a positive number is needed")
    for peer in plan.peers:
        if peer not in PEERS:
            raise InputError(f"--peers {peer} is not known: choose of {', '.join(PEERS)}")
        load_peer(peer)


def _show(report: dict[str, Any]) -> None:
    table = Table(title="times as fast, median (smallest–largest) of the rounds")
    others = list(dict.fromkeys(name for case in report["cases"] for name in case["times_as_fast_as"]))
    for heading in ("noise", "positives", "10⁹/s", *others, "2,048 would miss"):
        table.add_column(heading, justify="right")
    for case in report["cases"]:
        ratios = (case["times_as_fast_as"].get(name) for name in others)
        table.add_row(
            f"{case['noise']:g}",
            f"{case['pairs_per_anchor']:.0f}",
            f"{case['products_per_s'][case['backend']] / 1e9:.2f}",
            *(f"{one['median']:.2f} ({one['min']:.2f}–{one['max']:.2f})" if one else "–" for one in ratios),
            f"{case['missed_by_the_nearest_2048']:.0%}",
        )
    Console(stderr=True).print(table)
