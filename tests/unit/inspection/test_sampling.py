from collections import Counter

import pytest

from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.sampling import sample_rows, sample_triplets
from tests.unit.inspection.mined_samples import all_triplets


def test_every_row_is_as_likely_as_any_other() -> None:
    sampled = Counter(row for seed in range(3000) for row in sample_rows(10, 3, seed, generation=0).tolist())
    assert set(sampled) == set(range(10)) and all(count == pytest.approx(900, abs=100) for count in sampled.values())


def test_a_draw_repeats_for_one_seed_and_generation_alone() -> None:
    sampled = [sample_rows(10**6, 5, *seeds).tolist() for seeds in ((1, 2), (1, 2), (2, 2), (1, 3))]
    assert sampled[0] == sampled[1] == sorted(sampled[0])
    assert len({tuple(rows) for rows in sampled}) == 3


@pytest.mark.parametrize("num", [1, 5, 60, 10_000])
def test_drawn_triplets_are_the_generations_own_in_order(sound: OpenGeneration, num: int) -> None:
    table = all_triplets(sound)
    sampled = sample_triplets(sound.reader, num, seed=5).to_pandas()
    rows = sample_rows(len(table), num, 5, generation=0)
    assert sampled.equals(table.iloc[rows].reset_index(drop=True)) and len(sampled) == min(num, len(table))


def test_shards_without_a_drawn_triplet_are_not_read(sound: OpenGeneration) -> None:
    row = sample_rows(sound.manifest.num_triplets, 1, 5, generation=0)[0]
    for index, part in enumerate(sound.manifest.parts_of("triplets")):
        if index != row // 32:
            sound.workspace.store.delete(part.key)
    assert len(sample_triplets(sound.reader, 1, seed=5)) == 1
