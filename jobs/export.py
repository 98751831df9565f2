"""Export: a checkpoint's embeddings as Parquet files with ids and labels, without the images.

`jobs.prepare` reads them as a corpus of vectors, so they can be measured and mined where the images are no more.
"""

import argparse
from dataclasses import asdict

from jobs.cli import Report, open_job, run_job
from pipeline.config import RunConfig
from pipeline.encoders.checkpoint_names import find_checkpoints
from pipeline.errors import InputError
from pipeline.progress import log
from pipeline.stages.embed.export import export


def run(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Writes one checkpoint's embeddings."""
    job = open_job(config)
    refs = find_checkpoints(flags.checkpoint, job.workspace, "--checkpoint")
    if len(refs) != 1:
        raise InputError(f"--checkpoint {flags.checkpoint} names {len(refs)} checkpoints: export them one by one")
    run, step = refs[0]
    done = export(job.of_run(run), step, flags.dtype)
    log(f"{done.num_examples:,} embeddings ({done.num_bytes / 1e6:,.1f} MB of {flags.dtype}) are in {done.uri}")
    return asdict(done)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--checkpoint", default="latest", help="N or latest of --run, or RUN[:N] (default: latest)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="what a number is stored as; int8: D bytes a vector, to be made of length one when read",
    )


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
