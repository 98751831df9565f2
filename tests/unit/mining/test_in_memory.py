import numpy as np
import pytest

from pipeline.config import BandConfig, MiningConfig, PositivesConfig
from pipeline.mining import in_memory as whole
from pipeline.mining.in_memory import mine_whole
from pipeline.mining.shards import Shard
from tests.support.oracle import mine, unit_vectors
from tests.unit.mining.samples import assert_same_triplets

RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 40, 300).astype(np.int32)
VECTORS = unit_vectors(RNG, LABELS, 16, 1.0)
IDS = np.arange(300, dtype=np.int64) * 2
EXAMPLES = Shard(IDS, LABELS, VECTORS)


@pytest.mark.parametrize("mode", ["hard", "semi_hard", "positive_aware"])
def test_one_call_mines_what_blocks_and_shards_mine(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "_ANCHORS_PER_BLOCK", 37)
    band = BandConfig.model_validate({"mode": mode})
    config = MiningConfig(backend="reference", band=band, positives=PositivesConfig(max_per_anchor=3))
    ours = mine_whole(EXAMPLES, config, seed=3, sample_seed=0)
    theirs = mine(config, VECTORS, LABELS, num_shards=3, seed=3, ids_N=IDS)
    assert len(ours) > 100
    assert_same_triplets(ours, theirs)


def test_a_sample_of_candidates_is_all_that_is_seen() -> None:
    config = MiningConfig(backend="reference", band=BandConfig(mode="hard"), candidate_fraction=0.05)
    drawn = [set(mine_whole(EXAMPLES, config, 0, sample).negative_T.tolist()) for sample in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) <= 40


def test_nothing_to_mine_gives_no_triplets() -> None:
    config = MiningConfig(backend="reference")
    assert len(mine_whole(Shard(IDS[:3], np.arange(3, dtype=np.int32), VECTORS[:3]), config)) == 0
