"""Measures training: images a second against a bare loop on the same device, and what a step's time goes into."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.table import Table

from pipeline.benchmark.contest import Times, take_turns, time_once
from pipeline.benchmark.examples import Examples, glyph_examples
from pipeline.benchmark.machine import machine_facts, threads
from pipeline.benchmark.plans import TrainPlan
from pipeline.benchmark.results.table import make_table
from pipeline.benchmark.train_lap import BareLoop, Lap, Product
from pipeline.config import RunConfig
from pipeline.progress import log

BARE = "bare loop"
SOURCES = {"mined": "neighbourhoods", "online": "in-batch", "listed": "listed"}
"""As ``training.source`` calls them, and as people do."""


@dataclass(frozen=True)
class Case:
    """One way to feed the trainer.

    Attributes:
        source: Of the batches, as ``training.source`` calls it.
        decode_workers: Processes that decode ahead.
        decoded: The images were decoded before.
    """

    source: str
    decode_workers: int
    decoded: bool = False

    @property
    def decoding(self) -> str:
        """Who decodes, in words."""
        if self.decoded:
            return "before"
        return f"{self.decode_workers} ahead" if self.decode_workers else "in line"

    @property
    def name(self) -> str:
        """Names the contestant."""
        return f"{SOURCES[self.source]}, decoded {self.decoding}"


def benchmark_training(config: RunConfig, plan: TrainPlan) -> dict[str, Any]:
    """Measures training; raises InputError where the run cannot train on images."""
    config = config.at_step(0)
    training = config.training
    with threads(training.threads_per_worker), glyph_examples(config, plan.labels) as examples:
        return {
            "machine": machine_facts(training.device, training.threads_per_worker),
            "settings": {
                "encoder": config.encoder.model_dump(),
                "training": training.model_dump(mode="json"),
                "rounds": plan.rounds,
                "steps": plan.steps,
            },
            **measure(examples, plan),
        }


def cases_of(asked: tuple[int, ...], config: RunConfig) -> list[Case]:
    """Neighbourhoods in every way; the other sources as a trainer with (the first number of) decoders has them.

    Where no number is asked for, it is the config's, or 1.
    """
    decode_workers = asked or (config.training.decode_workers or 1,)
    return [
        Case("mined", 0, decoded=True),
        *(Case("mined", number) for number in (0, *decode_workers)),
        Case("online", decode_workers[0]),
        Case("listed", decode_workers[0]),
    ]


def measure(examples: Examples, plan: TrainPlan) -> dict[str, Any]:
    """The bare loop and all cases in turn."""
    config = examples.config
    cases = cases_of(plan.decode_workers, config)
    mined = examples.mine()
    log(f"training on {examples.corpus.num_examples:,} images, {len(mined):,} mined triplets")
    bare, products = BareLoop(config, plan.steps), {}
    for case in cases:
        training = config.training.model_copy(update={"source": case.source})
        told = replace(examples, config=config.model_copy(update={"training": training}))
        products[case.name] = Product(told, mined, plan.steps, case.decode_workers, case.decoded)
    contestants = {BARE: bare.lap, **{name: product.lap for name, product in products.items()}}
    laps = take_turns(contestants, plan.rounds)
    decode_s = time_once(lambda: [examples.decode(i) for i in range(examples.corpus.num_examples)])
    decode_s /= examples.corpus.num_examples
    times = Times({name: [lap.step_s / lap.num_images for lap in taken] for name, taken in laps.items()})
    return {
        "corpus": {"num_examples": examples.corpus.num_examples, "num_mined_triplets": len(mined)},
        "bare": {"images_per_s": 1.0 / times.median(BARE), "step_s": _median(laps[BARE], "step_s")},
        "decode": {"images_per_s": 1.0 / decode_s},
        "cases": [
            {
                "source": SOURCES[case.source],
                "decoding": case.decoding,
                "decode_workers": case.decode_workers,
                "images_per_s": 1.0 / times.median(case.name),
                "share_of_bare": times.ratio(BARE, case.name),
                **facts(laps[case.name], config.training.steps_per_round),
            }
            for case in cases
        ],
    }


def facts(laps: list[Lap], steps_per_round: int) -> dict[str, float]:
    """What a step's time goes into, and what its images are good for; the start is spread over a round."""
    images, valid, triplets, active = (
        sum(getattr(lap, name) for lap in laps) for name in ("num_images", "num_valid", "num_triplets", "num_active")
    )
    step_s, start_s = _median(laps, "step_s"), _median(laps, "start_s")
    return {
        "step_s": step_s,
        "waiting_share": float(np.median([lap.wait_s / lap.step_s for lap in laps])),
        "planning_share": float(np.median([lap.plan_s / lap.step_s for lap in laps])),
        "loss_share": float(np.median([lap.loss_s / lap.step_s for lap in laps])),
        "start_s": start_s,
        "start_share_of_a_round": start_s / (start_s + steps_per_round * step_s),
        "images_per_step": images / len(laps),
        "valid_triplets_per_image": valid / images,
        "triplets_per_image": triplets / images,
        "active_triplets_per_image": active / images,
        "images_per_triplet": images / max(triplets, 1),
    }


def _median(laps: list[Lap], name: str) -> float:
    return float(np.median([getattr(lap, name) for lap in laps]))


def training_table(report: dict[str, Any]) -> Table:
    """A row a way to feed the trainer."""
    rows = [
        (
            case["source"],
            case["decoding"],
            f"{case['images_per_s']:,.0f}",
            f"{case['share_of_bare']['median']:.2f}",
            *(f"{case[name]:.1%}" for name in ("waiting_share", "planning_share", "loss_share")),
            f"{case['triplets_per_image']:.2f}",
        )
        for case in report["cases"]
    ]
    bare, decode = report["bare"]["images_per_s"], report["decode"]["images_per_s"]
    return make_table(
        f"bare loop (ratio 1): {bare:,.0f} images/s; decoding alone, one process: {decode:,.0f}",
        ("batches", "decoded", "images/s", "ratio", "wait", "plan", "loss", "triplets\nan image"),
        rows,
    )
