"""export: triplets as a folder that other trainers read."""

import argparse
from dataclasses import asdict

from jobs.cli import Answer, Command, open_to_read
from jobs.triplet_commands.flags import add_generation, add_query_flags, positive, query_of
from pipeline.config import RunConfig
from pipeline.inspection.export.exports import export_triplets
from pipeline.inspection.export.layouts import SUFFIXES
from pipeline.inspection.generation import open_generation


def run(config: RunConfig, flags: argparse.Namespace) -> Answer:
    """Exports triplets of the named generation."""
    generation = open_generation(open_to_read(config), flags.generation)
    query = query_of(flags, config.seed, flags.limit)
    cluster = config.cluster
    done = export_triplets(generation, flags.to, flags.format, query, cluster.cache_dir, cluster.cache_gib)
    line = (
        f"{done.num_triplets:,} triplets of generation {done.generation} are in {done.uri}: {done.num_shards:,} files, "
        f"{done.num_bytes / 1e6:,.1f} MB"
    )
    return Answer(asdict(done), [line])


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument("--to", required=True, metavar="FOLDER|S3_URI", help="an empty folder, or one yet to be made")
    parser.add_argument(
        "--format",
        choices=SUFFIXES,
        default="datasets",
        help="datasets: Parquet with the examples themselves, for Hugging Face datasets; sentence-transformers: only "
        "the three examples; csv: ids, labels, paths and distances (default: datasets)",
    )
    add_generation(parser)
    add_query_flags(parser, "anchor")
    parser.add_argument("--limit", type=positive, metavar="N", help="only the first so many (default: all)")


COMMAND = Command(
    "triplets with their examples, for Hugging Face datasets, sentence-transformers or as CSV", run, add_flags
)
