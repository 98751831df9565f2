"""Blocks of anchors, answered by one shard after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.mining.merge import Nearest, merge
from pipeline.mining.positives import Pairs


@dataclass(frozen=True)
class Block:
    """The answers for a block of anchors from some of the shards; complete when it is from all.

    Attributes:
        pairs: Its pairs; empty until the first shard has answered.
        nearest: Their negatives, merged over the shards.
        num_handed_on: Pairs that an index handed to the scan, summed over the shards.
        num_shards: How many shards have answered.
    """

    pairs: Pairs
    nearest: Nearest
    num_handed_on: int
    num_shards: int = 1

    def __add__(self, other: "Block") -> "Block":
        return Block(
            self.pairs if len(self.pairs) else other.pairs,
            merge(self.nearest, other.nearest),
            self.num_handed_on + other.num_handed_on,
            self.num_shards + other.num_shards,
        )


def gather(
    answers: Iterable[tuple[tuple[int, int], tuple[Pairs, Nearest, int]]], num_shards: int
) -> Iterator[tuple[int, Block]]:
    """Puts the answers of shards together; blocks come as they are complete.

    Args:
        answers: ((number of the block, of the shard), what an actor returned), in any order.
        num_shards: Shards that answer for each block.
    """
    waiting: dict[int, Block] = {}
    for (number, _), found in answers:
        block = Block(*found)
        waiting[number] = waiting[number] + block if number in waiting else block
        if waiting[number].num_shards == num_shards:
            yield number, waiting.pop(number)
