from collections import Counter
from pathlib import Path

import pytest

from pipeline.inspection.sampling import draw_rows, draw_triplets
from tests.unit.inspection.mined_samples import all_triplets, mined


def test_every_row_is_as_likely_as_any_other() -> None:
    drawn = Counter(row for seed in range(3000) for row in draw_rows(10, 3, seed, generation=0).tolist())
    assert set(drawn) == set(range(10)) and all(count == pytest.approx(900, abs=100) for count in drawn.values())


def test_a_draw_repeats_for_one_seed_and_generation_alone() -> None:
    drawn = [draw_rows(10**6, 5, seed, generation).tolist() for seed, generation in ((1, 2), (1, 2), (2, 2), (1, 3))]
    assert drawn[0] == drawn[1] == sorted(drawn[0])
    assert len({tuple(rows) for rows in drawn}) == 3


@pytest.mark.parametrize("num", [1, 5, 60, 10_000])
def test_drawn_triplets_are_the_generations_own_in_order(tmp_path: Path, num: int) -> None:
    inspected = mined(str(tmp_path / "w"), tmp_path, rows_per_shard=9)
    table = all_triplets(inspected)
    drawn = draw_triplets(inspected.generation, num, seed=5).to_pandas()
    rows = draw_rows(len(table), num, 5, generation=0)
    assert drawn.equals(table.iloc[rows].reset_index(drop=True)) and len(drawn) == min(num, len(table))


def test_shards_without_a_drawn_triplet_are_not_read(tmp_path: Path) -> None:
    inspected = mined(str(tmp_path / "w"), tmp_path, rows_per_shard=9)
    row = draw_rows(inspected.manifest.num_triplets, 1, 5, generation=0)[0]
    for index, part in enumerate(inspected.manifest.parts_of("triplets")):
        if index != row // 9:
            inspected.workspace.store.delete(part.key)
    assert len(draw_triplets(inspected.generation, 1, seed=5)) == 1
