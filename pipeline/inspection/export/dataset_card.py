"""The README.md of exported triplets: metadata for Hugging Face, and their provenance."""

import dataclasses
import re

import yaml

from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.rows import TripletQuery

_SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
    10**8: "10M<n<100M",
}
_DISTANCES = "`d_ap` and `d_an` are squared L2 distances between their embeddings."
_LAYOUTS = {
    "datasets": "`anchor`, `positive` and `negative` are the examples themselves, the columns with `_id` their ids in "
    f"the corpus. {_DISTANCES}",
    "sentence-transformers": "The columns are the three examples, in the order in which its losses take them.",
    "csv": "`anchor`, `positive` and `negative` are ids in the corpus, the columns with `_path` where these examples "
    f"came from. {_DISTANCES}",
}


def dataset_card(generation: OpenGeneration, query: TripletQuery, layout: str, suffix: str, num_triplets: int) -> str:
    """Markdown with YAML front matter.

    Args:
        generation: Of the triplets.
        query: Which triplets of it, in which order.
        layout: Name of the layout.
        suffix: Of the files.
        num_triplets: How many were written.
    """
    manifest = generation.manifest
    size = next((name for below, name in _SIZES.items() if num_triplets < below), "n>100M")
    front = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": f"data/train-*.{suffix}"}]}],
        "size_categories": [size],
        "tags": ["metric-learning", "triplets"],
    }
    chosen = {name: value for name, value in dataclasses.asdict(query).items() if value is not None}
    if query.order != "random":
        del chosen["seed"]
    facts = {
        "run": generation.workspace.run,
        "generation": f"{manifest.number}, published {manifest.created_at}",
        "checkpoint": f"step {manifest.checkpoint_step}, weights `{manifest.weights_digest}`",
        "corpus": f"{generation.corpus.num_examples:,} examples, fingerprint `{manifest.corpus_fingerprint}`",
        "band": f"`{manifest.mining.band.model_dump_json()}`",
        "config": f"`{manifest.config_digest}`",
        "chosen": ", ".join(f"{_escape(name)} {_escape(str(value))}" for name, value in chosen.items()),
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# Mined triplets\n\n{num_triplets:,} triplets, mined by "
        f"Motherlode over a whole corpus. {_LAYOUTS[layout]}\n\n| | |\n|---|---|\n{lines}\n"
    )


def _escape(text: str) -> str:
    """Escapes text for Markdown, since a label may hold anything."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
