"""The planner of batches that a training config names."""

from pipeline.config import TrainingConfig
from pipeline.training.batches import BatchPlanner, ListedTriplets, RandomLabels, RandomTriplets
from pipeline.training.label_index import LabelIndex
from pipeline.training.neighbourhoods import Neighbourhoods
from pipeline.training.triplet_shard import TripletShard

NEEDS_MINING = ("mined", "listed")


def make_planner(
    config: TrainingConfig,
    index: LabelIndex,
    seed: int,
    first_step: int = 0,
    shard: TripletShard | None = None,
    previous: TripletShard | None = None,
) -> BatchPlanner:
    """What plans the batches of a segment.

    Args:
        config: The training run, with the curriculum applied (``RunConfig.at_step``).
        index: The training examples.
        seed: The run's.
        first_step: The segment's first step.
        shard: A shard of the pinned generation, for the sources "mined" and "listed".
        previous: A shard of the generation before, for ``batch.previous_share``.
    """
    if config.source == "random":
        return RandomTriplets(index, config.batch, seed)
    # Where nothing was mined (yet), random labels are the next best thing.
    if config.source == "online" or shard is None or not len(shard):
        return RandomLabels(index, config.batch, config.selection, seed)
    if config.source == "listed":
        return ListedTriplets(shard, config.batch, seed, first_step)
    return Neighbourhoods(config, index, seed, first_step, shard, previous)
