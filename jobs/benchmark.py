"""Benchmark: measure mining here, against named peers and this machine's own matrix product, checked by brute force."""

import argparse
from pathlib import Path

from jobs.cli import Report, run_job
from pipeline.benchmark.report import Plan, benchmark_mining
from pipeline.config import RunConfig


def body(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Measures, and writes a JSON document and a chart."""
    plan = Plan(
        **{name: getattr(flags, name) for name in ("examples", "dims", "per_label", "anchors", "rounds", "threads")},
        noises=tuple(flags.noises),
        positives=tuple(flags.positives),
        peers=tuple(flags.peers),
        scaling=tuple(flags.scaling),
        device=config.cluster.actor_device,
    )
    return benchmark_mining(config.mining, plan, flags.output)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("what", choices=["mine"], help="what to measure")
    parser.add_argument("--examples", type=int, default=100_000, help="N (default 100000)")
    parser.add_argument("--dims", type=int, default=128, help="D (default 128)")
    parser.add_argument("--per-label", type=int, default=12, help="examples a label (default 12)")
    parser.add_argument("--anchors", type=int, default=16_384, help="anchors that ask (default 16384)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads, ours and the peers' (default 2)")
    parser.add_argument("--noises", type=float, nargs="+", default=[0.8, 1.2, 2.0, 4.0], help="trained to untrained")
    parser.add_argument("--positives", type=int, nargs="+", default=[1, 4], help="positives an anchor")
    parser.add_argument(
        "--peers", nargs="*", default=["faiss", "torch"], help="also: sentence-transformers, pytorch-metric-learning"
    )
    parser.add_argument(
        "--scaling", type=int, nargs="*", default=[10_000, 30_000, 100_000], help="N of the whole passes"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/benchmark"), help="folder for mine.json and mine.png"
    )


if __name__ == "__main__":
    run_job(__doc__ or "", body, add_flags)
