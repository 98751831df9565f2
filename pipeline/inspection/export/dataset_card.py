"""The README.md of exported triplets: what Hugging Face reads of it, and where they come from."""

import dataclasses
import re

import yaml

from pipeline.inspection.inspected import Inspected
from pipeline.inspection.query.rows import Choice

_SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
    10**8: "10M<n<100M",
}
_DISTANCES = "`d_ap` and `d_an` are squared L2 distances between their embeddings."
_WORDS = {
    "datasets": "`anchor`, `positive` and `negative` are the examples themselves, the columns with `_id` their ids in "
    f"the corpus. {_DISTANCES}",
    "sentence-transformers": "The columns are the three examples, in the order in which its losses take them.",
    "csv": "`anchor`, `positive` and `negative` are ids in the corpus, the columns with `_path` where these examples "
    f"came from. {_DISTANCES}",
}


def dataset_card(
    inspected: Inspected, choice: Choice, limit: int | None, layout: str, suffix: str, num_triplets: int
) -> str:
    """Markdown with YAML front matter.

    Args:
        inspected: What was exported.
        choice: Which triplets of it, in which order.
        limit: How many of these at most.
        layout: Name of the layout.
        suffix: Of the files.
        num_triplets: How many were written.
    """
    manifest = inspected.manifest
    size = next((name for below, name in _SIZES.items() if num_triplets < below), "n>100M")
    front = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": f"data/train-*.{suffix}"}]}],
        "size_categories": [size],
        "tags": ["metric-learning", "triplets"],
    }
    wanted = {name: value for name, value in dataclasses.asdict(choice).items() if value is not None}
    if choice.order != "random":
        del wanted["seed"]
    if limit is not None:
        wanted["limit"] = limit
    facts = {
        "run": inspected.workspace.run,
        "generation": f"{manifest.number}, published {manifest.created_at}",
        "checkpoint": f"step {manifest.checkpoint_step}, weights `{manifest.weights_digest}`",
        "corpus": f"{inspected.corpus.num_examples:,} examples, fingerprint `{manifest.corpus_fingerprint}`",
        "band": f"`{manifest.mining.band.model_dump_json()}`",
        "config": f"`{manifest.config_digest}`",
        "chosen": ", ".join(f"{_escape(name)} {_escape(str(value))}" for name, value in wanted.items()),
    }
    lines = "\n".join(f"| {name} | {words} |" for name, words in facts.items())
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n# Mined triplets\n\n{num_triplets:,} triplets, mined by "
        f"Motherlode over a whole corpus. {_WORDS[layout]}\n\n| | |\n|---|---|\n{lines}\n"
    )


def _escape(text: str) -> str:
    """Text as Markdown that shows it: a label may hold anything."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))
