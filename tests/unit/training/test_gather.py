from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.gather import gather_rows, rows_of
from tests.unit.training.samples import run_workers
from tests.unit.training.workers import NUM_ROWS, gather_all, whole_batch


@given(st.integers(1, 200), st.integers(1, 9))
def test_workers_share_a_batch_evenly_without_overlap_or_gap(num_rows: int, world_size: int) -> None:
    parts = [range(num_rows)[rows_of(rank, world_size, num_rows)] for rank in range(world_size)]
    assert [row for part in parts for row in part] == list(range(num_rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_worker_has_the_whole_batch_without_a_group() -> None:
    whole, _ = whole_batch()
    assert gather_rows(whole, 0, 1, NUM_ROWS) is whole


def test_every_worker_sees_all_rows_in_order_and_has_the_gradient_of_its_own(tmp_path: Path) -> None:
    run_workers(gather_all, 3, tmp_path)  # 7 rows: two, two and three
    whole, weights = whole_batch()
    for rank in range(3):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(found["gathered"], whole)
        assert torch.equal(found["gradient"], weights[rows_of(rank, 3, NUM_ROWS)])
