"""The ways of choosing triplets that `jobs.compare` sets against each other, as changes of one config."""

from dataclasses import dataclass
from typing import Any

from pipeline.config import BandConfig, RunConfig
from pipeline.errors import InputError

PARTIAL_CANDIDATES = 1000
"""What a refresh of partial mining sees for a query: a random thousand of the corpus."""


@dataclass(frozen=True)
class Arm:
    """One way of choosing triplets.

    Attributes:
        name: For the command line and the table.
        words: What it is, for people.
        training: Fields of TrainingConfig that it sets.
        batch: Fields of BatchConfig that it sets.
        band: What is mined; None: as the config says.
        candidates: Candidates that a refresh sees; None: all.
    """

    name: str
    words: str
    training: dict[str, Any]
    batch: dict[str, Any]
    band: BandConfig | None = None
    candidates: int | None = None

    def config(self, base: RunConfig, num_examples: int) -> RunConfig:
        """The run of this arm; ``candidates`` are a share of so many training examples."""
        if self == AS_CONFIGURED:
            return base
        mining = base.mining.model_copy(update={"candidate_fraction": 1.0, "warm_start": False})
        if self.band is not None:
            mining = mining.model_copy(update={"band": self.band})
        if self.candidates is not None:
            fraction = min(1.0, self.candidates / num_examples)
            mining = mining.model_copy(update={"candidate_fraction": fraction})
        batch = base.training.batch.model_copy(update=self.batch)
        own = {"selection": "semi_hard", "curriculum": (), **self.training, "batch": batch}
        training = base.training.model_copy(update=own)
        return base.model_copy(update={"mining": mining, "training": training})


_SEMI_HARD, _HARD = BandConfig(mode="semi_hard"), BandConfig(mode="hard")
_AWARE = BandConfig(mode="positive_aware", ratio=1.05)
_CLIQUES = {"random_share": 0.0, "previous_share": 0.0, "in_batch_share": 0.0}
_MIXED = {"random_share": 0.34, "previous_share": 0.0, "in_batch_share": 0.0}

AS_CONFIGURED = Arm("as_configured", "the config as it stands", {}, {})

ARMS = {
    arm.name: arm
    for arm in (
        Arm("random", "random triplets, three images each", {"source": "random"}, {}),
        Arm("listed", "global semi-hard triplets, one by one", {"source": "listed"}, {}, _SEMI_HARD),
        Arm("in_batch", "FaceNet's online mining: random labels, semi-hard in the batch", {"source": "online"}, {}),
        Arm(
            "partial",
            f"neighbourhoods from {PARTIAL_CANDIDATES:,} random candidates",
            {"source": "mined"},
            _CLIQUES,
            _SEMI_HARD,
            PARTIAL_CANDIDATES,
        ),
        Arm("global_semi_hard", "global neighbourhoods, semi-hard", {"source": "mined"}, _CLIQUES, _SEMI_HARD),
        Arm("global_hard", "global neighbourhoods, hardest", {"source": "mined"}, _CLIQUES, _HARD),
        Arm(
            "global_positive_aware",
            "global neighbourhoods beyond 1.05 d_ap, here and in the batch",
            {"source": "mined", "selection": "positive_aware"},
            _CLIQUES,
            _AWARE,
        ),
        Arm(
            "global_mixed",
            "global neighbourhoods, a third of the labels random",
            {"source": "mined"},
            _MIXED,
            _SEMI_HARD,
        ),
        AS_CONFIGURED,
    )
}


def choose_arms(names: list[str]) -> list[Arm]:
    """The arms of these names.

    Raises:
        InputError: One is not known.
    """
    for name in names:
        if name not in ARMS:
            raise InputError(f"there is no arm {name!r}: choose from {', '.join(ARMS)}")
    return [ARMS[name] for name in dict.fromkeys(names)]
