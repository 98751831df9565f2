"""How much there is to do: examples, anchors, pairs, triplets, shards. Pure counting."""

from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.planning.rates import CorpusFacts

_MOST_OWN = 256
"""As ``mining.audit.neighbours.MOST_OWN``: so many of its own label the audit compares an example with."""


@dataclass(frozen=True)
class Workload:
    """One refresh. Counts are floats: they are expectations, and reach beyond 2^53 bytes.

    Attributes:
        num_examples: Of the corpus; all are embedded.
        num_mined: Of them, those that are no test examples.
        num_labels: Labels of these.
        num_anchors: Of them, those with a positive.
        num_mates: (anchor, other of its label).
        num_pairs: (anchor, positive) that are asked about.
        num_own: (example, other of its label) that the audit looks at.
        num_shards: Of the search.
        num_answers: Of groups of shards to a block: a group is searched in turn by an actor.
        num_blocks: Of anchors.
        num_parts: Of the corpus.
        stored_bytes: Of the corpus.
        payload_bytes: Of the corpus, unpacked.
    """

    num_examples: float
    num_mined: float
    num_labels: float
    num_anchors: float
    num_mates: float
    num_pairs: float
    num_own: float
    num_shards: int
    num_answers: int
    num_blocks: float
    num_parts: float
    stored_bytes: float
    payload_bytes: float


def count(config: RunConfig, corpus: CorpusFacts, num_examples: int, num_shards: int, num_answers: int) -> Workload:
    """Counts what a refresh of ``num_examples`` asks for: labels keep their sizes, there are more or fewer of them."""
    scale = num_examples / corpus.num_examples
    sizes = [(size, number * scale) for size, number in corpus.label_sizes]
    rules = config.mining.positives
    limit = rules.max_per_anchor if rules.policy == "all" else rules.num_per_anchor
    num_mined = sum(size * number for size, number in sizes)
    num_anchors = sum(size * number for size, number in sizes if size > 1)
    return Workload(
        num_examples=num_examples,
        num_mined=num_mined,
        num_labels=sum(number for _, number in sizes),
        num_anchors=num_anchors,
        num_mates=sum(size * (size - 1) * number for size, number in sizes),
        num_pairs=sum(size * min(size - 1, limit or size) * number for size, number in sizes),
        num_own=sum(size * min(size - 1, _MOST_OWN) * number for size, number in sizes),
        num_shards=num_shards,
        num_answers=num_answers,
        num_blocks=max(1.0, num_anchors / config.cluster.anchors_per_block),
        num_parts=max(1.0, corpus.num_parts * scale),
        stored_bytes=corpus.stored_bytes * scale,
        payload_bytes=corpus.payload_bytes * scale,
    )
