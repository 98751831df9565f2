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
    """What plans the batches of a segment, which begins at ``first_step``.

    The config has the curriculum applied (``RunConfig.at_step``). Sources that mine want a shard of the pinned
    generation; ``batch.previous_share`` one of the generation before, too.
    """
    if config.source == "random":
        return RandomTriplets(index, config.batch, seed)
    # Where nothing was mined (yet), random labels are the next best thing.
    if config.source == "online" or shard is None or not len(shard):
        return RandomLabels(index, config.batch, config.selection, seed)
    if config.source == "listed":
        return ListedTriplets(shard, config.batch, seed, first_step)
    return Neighbourhoods(config, index, seed, first_step, shard, previous)
