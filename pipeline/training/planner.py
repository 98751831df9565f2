"""From the training config to what plans its batches."""

from pipeline.config import TrainingConfig
from pipeline.training.batches import BatchPlanner, ListedTriplets, RandomLabels, RandomTriplets
from pipeline.training.mined import Mined
from pipeline.training.neighbourhoods import Neighbourhoods
from pipeline.training.pool import Pool

NEEDS_MINING = ("mined", "listed")


def make_planner(
    config: TrainingConfig,
    pool: Pool,
    seed: int,
    first_step: int = 0,
    mined: Mined | None = None,
    previous: Mined | None = None,
) -> BatchPlanner:
    """What plans the batches of a segment.

    Args:
        config: The training run, with the curriculum applied (``RunConfig.at_step``).
        pool: The training examples.
        seed: The run's.
        first_step: The segment's first step.
        mined: A shard of the pinned generation, for the sources "mined" and "listed".
        previous: A shard of the generation before, for ``batch.previous_share``.
    """
    if config.source == "random":
        return RandomTriplets(pool, config.batch, seed)
    # Where nothing was mined (yet), random labels are the next best thing.
    if config.source == "online" or mined is None or not len(mined):
        return RandomLabels(pool, config.batch, config.selection, seed)
    if config.source == "listed":
        return ListedTriplets(mined, config.batch, seed, first_step)
    return Neighbourhoods(pool, mined, config.batch, config.selection, seed, first_step, previous)
