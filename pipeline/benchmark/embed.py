"""Measures encoding: images a second against the bare forward loop on the same device, with and without decoding."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from pipeline.benchmark.contest import Times, compete
from pipeline.benchmark.examples import Examples, glyph_examples
from pipeline.benchmark.machine import finish, machine_facts, threads
from pipeline.benchmark.plans import EmbedPlan
from pipeline.benchmark.results.table import make_table, spread
from pipeline.config import RunConfig
from pipeline.embeddings.encode import encode
from pipeline.encoders.registry import initial_encoder
from pipeline.progress import log

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
DECODING = "decoding alone"


def benchmark_embedding(config: RunConfig, plan: EmbedPlan) -> dict[str, Any]:
    """Measures encoding; raises InputError where the run's encoder takes no images."""
    cluster = config.cluster
    with threads(cluster.threads_per_actor), glyph_examples(config, plan.labels) as examples:
        log(f"encoding {examples.corpus.num_examples:,} images")
        return {
            "machine": machine_facts(cluster.actor_device, cluster.threads_per_actor),
            "settings": {
                "encoder": config.encoder.model_dump(),
                "batch_size": config.embed.batch_size,
                "num_examples": examples.corpus.num_examples,
                "rounds": plan.rounds,
            },
            **measure(examples, plan.rounds),
        }


def measure(examples: Examples, num_rounds: int) -> dict[str, Any]:
    """All contestants in turn, in both precisions."""
    config, contents = examples.config, examples.contents
    to_input = examples.corpus.payload.to_input(config.transform)
    batch_size, device = config.embed.batch_size, config.cluster.actor_device
    encoder = initial_encoder(config.encoder, config.transform, config.seed).eval().to(device)
    inputs = torch.from_numpy(examples.inputs_N).to(device)
    contestants: dict[str, Callable[[], object]] = {DECODING: lambda: [to_input(content) for content in contents]}
    for precision in PRECISIONS:
        embed = config.embed.model_copy(update={"precision": precision})
        contestants[f"{precision} bare"] = partial(forward_only, encoder, inputs, batch_size, device, precision)
        for name, what, load in (
            ("arrays", range(len(contents)), examples.recall),
            ("payloads", contents, to_input),
        ):
            contestants[f"{precision} {name}"] = partial(encode, encoder, what, load, embed, device)
    times = compete(contestants, num_rounds)
    return {
        "decoding_images_per_s": len(contents) / times.median(DECODING),
        "cases": [_case(times, precision, len(contents)) for precision in PRECISIONS],
        "bfloat16_times_as_fast": {
            name: times.ratio(f"float32 {name}", f"bfloat16 {name}") for name in ("bare", "arrays", "payloads")
        },
    }


def forward_only(encoder: nn.Module, inputs: Tensor, batch_size: int, device: str, precision: Precision) -> None:
    """The least that encoding can be: forward passes over a tensor that is on the device."""
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        for start in range(0, len(inputs), batch_size):
            encoder(inputs[start : start + batch_size])
    finish(device)


def _case(times: Times, precision: Precision, num_examples: int) -> dict[str, Any]:
    names = ("bare", "arrays", "payloads")
    found = {name: num_examples / times.median(f"{precision} {name}") for name in names}
    without_decoding = np.array(times.seconds[f"{precision} payloads"]) - np.array(times.seconds[DECODING])
    bare = np.array(times.seconds[f"{precision} bare"])
    return {
        "precision": precision,
        "images_per_s": found,
        "share_of_bare": {name: times.ratio(f"{precision} bare", f"{precision} {name}") for name in names[1:]},
        "share_of_bare_but_for_decoding": float(np.median(bare / without_decoding)),
    }


def embedding_table(report: dict[str, Any]) -> Table:
    """A row a precision."""
    rows = [
        (
            case["precision"],
            *(f"{case['images_per_s'][name]:,.0f}" for name in ("bare", "arrays", "payloads")),
            *(spread(case["share_of_bare"][name]) for name in ("arrays", "payloads")),
        )
        for case in report["cases"]
    ]
    return make_table(
        f"images a second; decoding alone: {report['decoding_images_per_s']:,.0f}",
        ("precision", "bare loop", "encode", "decoding, too", "encode of the bare loop", "decoding, too"),
        rows,
    )
