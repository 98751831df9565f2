"""Evaluate: how well checkpoints tell labels apart that no step has seen; one or more protocols, side by side.

Writes JSON, a Markdown table and pictures into the workspace, beside the run.
"""

import argparse

from jobs.cli import Report, open_job, run_job
from pipeline.config import RunConfig
from pipeline.encoders.checkpoint_names import find_checkpoints
from pipeline.stages.evaluate.protocols import DEFAULT_PROTOCOLS, PROTOCOLS
from pipeline.stages.evaluate.stage import CheckpointRef, print_results, run_evaluation


def run(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Evaluates the named checkpoints side by side."""
    job = open_job(config)
    texts = flags.checkpoint or [f"{config.run}:0", config.run]
    refs = [CheckpointRef(*ref) for text in texts for ref in find_checkpoints(text, job.workspace, "--checkpoint")]
    results = run_evaluation(job, refs, flags.protocol)
    print_results(results)
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
    descriptions = "; ".join(f"{name}: {protocol.description}" for name, protocol in PROTOCOLS.items())
    parser.add_argument(
        "--protocol",
        nargs="+",
        metavar="PROTOCOL",
        default=list(DEFAULT_PROTOCOLS),
        help=f"what to measure, or all: whatever this corpus and config allow (default: {default}). {descriptions}",
    )


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
