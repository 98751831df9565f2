"""Evaluate: how well checkpoints tell labels apart that no step has seen; one or more protocols, side by side.

Writes JSON, a Markdown table and pictures into the workspace, beside the run.
"""

import argparse

from jobs.cli import Report, open_job, run_job
from pipeline.config import RunConfig
from pipeline.stages.evaluate.protocols import DEFAULT_PROTOCOLS, PROTOCOLS
from pipeline.stages.evaluate.stage import evaluate_alone, parse_checkpoints, show


def body(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Evaluates the named checkpoints side by side."""
    job = open_job(config)
    texts = flags.checkpoint or [f"{config.run}:0", config.run]
    wanted = [checkpoint for text in texts for checkpoint in parse_checkpoints(job.workspace, text)]
    results = evaluate_alone(config, job.workspace, job.corpus, wanted, flags.protocol)
    show(results)
    return results.report()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        metavar="CHECKPOINT",
        help="N, latest or all of --run, or RUN[:N|latest|all]; several are set side by side, the one that matters "
        "last (default: untrained and newest)",
    )
    default = " ".join(DEFAULT_PROTOCOLS)
    words = "; ".join(f"{name}: {protocol.words}" for name, protocol in PROTOCOLS.items())
    parser.add_argument(
        "--protocol",
        nargs="+",
        metavar="PROTOCOL",
        default=list(DEFAULT_PROTOCOLS),
        help=f"what to measure, or all: whatever this corpus and config allow (default: {default}). {words}",
    )


if __name__ == "__main__":
    run_job(__doc__ or "", body, add_flags)
