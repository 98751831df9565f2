"""Prepare: read a source of labelled examples once and publish it as a corpus."""

import argparse

from jobs.cli import Report, run_job
from pipeline.config import RunConfig
from pipeline.corpus.ingest import prepare
from pipeline.progress import log
from pipeline.storage.workspace import Workspace


def run(config: RunConfig, flags: argparse.Namespace) -> Report:
    """Publishes the corpus unless the workspace has it."""
    workspace = Workspace.open(config.workspace, config.run)
    workspace.check_writable()
    corpus, is_new = prepare(
        config.corpus, workspace, config.seed, config.digest(), flags.again, flags.drop_corrections
    )
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in corpus.quarantined.items())
    log(
        f"corpus {corpus.number}: {corpus.num_examples:,} examples of {corpus.num_labels:,} labels"
        + (f"; in quarantine: {rejected}" if rejected else "")
        + (" — published" if is_new else " — nothing to do (--again looks at the source again)")
    )
    return {"published": is_new, "corpus": corpus.model_dump(mode="json", exclude={"parts"})}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The job's own flags."""
    parser.add_argument("--again", action="store_true", help="read the source again, and publish it if it changed")
    parser.add_argument(
        "--drop-corrections",
        action="store_true",
        help="read it even where labels of the newest corpus were corrected, which would bring the old ones back",
    )


if __name__ == "__main__":
    run_job(__doc__ or "", run, add_flags)
