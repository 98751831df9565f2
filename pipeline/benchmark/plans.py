"""What a benchmark is asked for; every field is a flag of ``jobs.benchmark``."""

from dataclasses import dataclass, field, fields
from typing import Any

from pipeline.errors import InputError


def _flag(default: Any, words: str, fewest: int = 1) -> Any:  # noqa: ANN401 — like dataclasses.field
    """A field, in the words of its help; one that holds several values may be told ``fewest``."""
    nargs = ("*" if fewest == 0 else "+") if isinstance(default, tuple) else None
    return field(default=default, metadata={"help": words, "nargs": nargs})


@dataclass(frozen=True)
class Plan:
    """What every benchmark is told."""

    rounds: int = _flag(5, "rounds that count")

    def check(self) -> None:
        """Refuses sizes that are not positive.

        Raises:
            InputError: One is not.
        """
        for one in fields(self):
            value = getattr(self, one.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and number < 1:
                    raise InputError(f"--{one.name.replace('_', '-')} is {number}: a positive number is needed")


@dataclass(frozen=True)
class MinePlan(Plan):
    """Mining, against peers."""

    examples: int = _flag(100_000, "N")
    dims: int = _flag(128, "D")
    per_label: int = _flag(12, "examples a label")
    anchors: int = _flag(16_384, "anchors that ask")
    threads: int = _flag(2, "threads, ours and the peers'")
    noises: tuple[float, ...] = _flag((0.8, 1.2, 2.0, 4.0), "trained to untrained")
    positives: tuple[int, ...] = _flag((1, 4), "positives an anchor")
    peers: tuple[str, ...] = _flag(
        ("faiss", "torch"), "against whom; also: sentence-transformers, pytorch-metric-learning", 0
    )
    scaling: tuple[int, ...] = _flag((10_000, 30_000, 100_000), "N of the whole passes", 0)
    instruction_set: str | None = _flag(None, "of the compiled scan; default: the best")
    trained: str | None = _flag(None, "workspace to measure too, as build/demo")


@dataclass(frozen=True)
class EmbedPlan(Plan):
    """Encoding, against the bare forward loop."""

    labels: int = _flag(300, "characters that are drawn, of at most 12 images each")


@dataclass(frozen=True)
class TrainPlan(EmbedPlan):
    """Training, against the bare step."""

    steps: int = _flag(40, "steps a contestant takes in a round")
    decode_workers: tuple[int, ...] = _flag((), "processes that decode ahead (beside none); default: the config's or 1")
