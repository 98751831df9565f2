from typing import get_args

import numpy as np
import pytest

from pipeline.config import BandConfig, MiningConfig
from pipeline.errors import InputError
from pipeline.mining.backends.reference import scan
from pipeline.mining.backends.registry import BACKENDS, Backend, ShardSearch, open_search, resolve_backend
from pipeline.mining.in_memory import mine_whole
from pipeline.mining.queries import Queries
from pipeline.mining.shards import LabelGroups, Shard
from pipeline.mining.topk import Nearest
from pipeline.stages.mine.queries import AnchorBlock, build_negative_queries
from pipeline.stages.mine.worker import Search
from tests.support.oracle import listed, unit_vectors

LABELS = np.repeat(np.arange(20, dtype=np.int32), 5)
EXAMPLES = Shard(np.arange(100), LABELS, unit_vectors(np.random.default_rng(0), LABELS, 8, 0.5))


def test_the_config_names_every_backend_of_the_table_and_no_other() -> None:
    assert set(get_args(MiningConfig.model_fields["backend"].annotation)) == {"auto", *BACKENDS}


def test_auto_is_exact_and_can_be_had() -> None:
    chosen = BACKENDS[resolve_backend(MiningConfig())]
    assert chosen.is_exact and chosen.unavailable_reason() is None
    assert BACKENDS[resolve_backend(MiningConfig(), "cuda")].needs_gpu


def test_what_cannot_be_had_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Backend(BACKENDS["reference"].open, lambda: "the moon is not installed: pip install moon")
    monkeypatch.setitem(BACKENDS, "native", missing)
    assert resolve_backend(MiningConfig()) == "reference"
    with pytest.raises(
        InputError, match=r"backend is native, but the moon is not .*, or set mining\.backend reference"
    ):
        resolve_backend(MiningConfig(backend="native"))


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_new_entry_of_the_table_is_found_everywhere(monkeypatch: pytest.MonkeyPatch, is_exact: bool) -> None:
    """The recipe of CONTRIBUTING.md, with a backend that counts what it is asked."""
    asked = []

    def open_counting(shard: Shard, config: MiningConfig, device: str) -> ShardSearch:
        def search(queries: Queries, num_negatives: int) -> tuple[Nearest, int]:
            asked.append(len(queries.row_P))
            return scan(queries, shard, num_negatives), 0

        return search

    fake = Backend(open_counting, lambda: None, is_exact=is_exact, keeps_state=True)
    monkeypatch.setitem(BACKENDS, "fake", fake)
    config = MiningConfig(backend="reference", band=BandConfig(mode="hard")).model_copy(update={"backend": "fake"})
    assert resolve_backend(config) == "fake"
    mined = mine_whole(EXAMPLES, config)
    assert asked and np.array_equal(mined.negative_T, mine_whole(EXAMPLES, MiningConfig(band=config.band)).negative_T)
    open_search(config, "fake", EXAMPLES)
    assert Search("pass", config, "fake", 1).keeps_shards
    # Bounds are pruned by what is known already for an exact backend alone.
    previous = listed(mined.anchor_T, mined.positive_T, mined.negative_T)
    block = AnchorBlock(EXAMPLES.ids_N[:10], previous, None)
    groups = LabelGroups(EXAMPLES.ids_N, EXAMPLES.labels_N)
    queries, _ = build_negative_queries(block, groups, config, "fake", 0, EXAMPLES)
    assert np.isfinite(queries.upper_P).all() == is_exact
