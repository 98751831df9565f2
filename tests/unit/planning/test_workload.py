import numpy as np
import pytest

from pipeline.config import MiningConfig, PositivesConfig, RunConfig
from pipeline.mining.audit.neighbours import MOST_OWN
from pipeline.mining.positives import select_positives
from pipeline.mining.shards import LabelGroups, Shard, ShardedVectors
from pipeline.planning.rates import CorpusFacts
from pipeline.planning.workload import count


def corpus(labels_N: np.ndarray) -> CorpusFacts:
    sizes, numbers = np.unique(np.unique(labels_N, return_counts=True)[1], return_counts=True)
    return CorpusFacts(
        num_examples=len(labels_N),
        label_sizes=tuple(zip(sizes.tolist(), numbers.tolist(), strict=True)),
        stored_bytes=1e6,
        payload_bytes=2e6,
        num_parts=7,
        mates_per_anchor=1.0,
    )


@pytest.mark.parametrize(
    "positives",
    [
        PositivesConfig(),
        PositivesConfig(max_per_anchor=None),
        PositivesConfig(max_per_anchor=3),
        PositivesConfig(policy="random", num_per_anchor=2),
        PositivesConfig(policy="hardest"),
    ],
)
def test_pairs_are_counted_as_mining_chooses_them(positives: PositivesConfig) -> None:
    rng = np.random.default_rng(0)
    labels_N = np.sort(rng.zipf(1.6, size=600) % 90).astype(np.int32)
    ids_N = np.arange(600)
    vectors = ShardedVectors([Shard(ids_N, labels_N, rng.normal(size=(600, 4)).astype(np.float32))])
    groups = LabelGroups(ids_N, labels_N)
    pairs = select_positives(positives, vectors, groups, groups.anchors_A, 0)
    own = select_positives(PositivesConfig(max_per_anchor=MOST_OWN), vectors, groups, groups.anchors_A, 0)

    config = RunConfig(mining=MiningConfig(positives=positives))
    work = count(config, corpus(labels_N), 600, num_shards=3, num_answers=1)

    assert len(groups.singletons) and work.num_mined == 600 and work.num_labels == len(groups.labels_G)
    assert (work.num_anchors, work.num_pairs, work.num_own) == (len(groups.anchors_A), len(pairs), len(own))


def test_a_larger_corpus_has_more_labels_of_the_same_sizes() -> None:
    facts = corpus(np.repeat(np.arange(50), 4))
    small, large = (count(RunConfig(), facts, number, num_shards=1, num_answers=1) for number in (200, 2000))
    for name, value in vars(small).items():
        if name not in ("num_shards", "num_answers", "num_blocks"):
            assert vars(large)[name] == pytest.approx(10 * value), name
