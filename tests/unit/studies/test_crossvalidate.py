from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.studies.crossvalidate import crossvalidate, fold_groups


@given(num_folds=st.integers(4, 40), data=st.data())
def test_every_fold_is_held_out_once_and_never_alone(num_folds: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(2, num_folds // 2))
    groups = fold_groups(num_folds, size)
    assert [fold for group in groups for fold in group] == list(range(1, num_folds + 1))
    assert all(size <= len(group) < 2 * size for group in groups) and len(groups) >= 2


def test_the_official_ten_folds_make_five_pairs() -> None:
    assert fold_groups(10, 2) == [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10)]


@pytest.mark.parametrize("size", [0, 1, 6, 10])
def test_a_group_that_could_not_be_scored_or_trained_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="--folds-per-model"):
        fold_groups(10, size)


def test_without_the_official_files_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set evaluation\.lfw\.folder"):
        crossvalidate(RunConfig(workspace=str(tmp_path)), 2)
