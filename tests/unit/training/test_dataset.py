import multiprocessing

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pipeline.config import BatchConfig
from pipeline.errors import InputError
from pipeline.training.batches import ListedTriplets, RandomLabels
from pipeline.training.dataset import LoadedBatch, StepDataset, batches
from pipeline.training.label_index import LabelIndex
from tests.unit.training.samples import CONFIG, INPUTS, LABELS, OLD, Examples, dataset

PLANNER = RandomLabels(LabelIndex(np.arange(48), LABELS), CONFIG.batch, "all", seed=3)


def refuse(example: int) -> npt.NDArray[np.float32]:
    raise InputError(f"example {example} cannot be decoded: not an image")


def test_an_item_is_the_planned_batch_decoded() -> None:
    planned, item = PLANNER.plan(4), dataset()[4]
    assert (item.step, item.selection, item.listed_T3) == (4, "all", None)
    np.testing.assert_array_equal(item.labels_B, planned.labels_B)
    np.testing.assert_array_equal(item.inputs, INPUTS[planned.ids_B])


def test_listed_rows_travel_with_the_batch() -> None:
    examples = Examples([4] * 8)
    planner = ListedTriplets(examples.mined([(0, 1), (2, 3)]), BatchConfig(num_labels=3, images_per_label=2), 0, 0)
    item = StepDataset(planner, lambda example: np.full(1, example, dtype=np.float32), 0, 1)[0]
    assert item.listed_T3 is not None and item.selection == "all"
    np.testing.assert_array_equal(item.listed_T3, planner.plan(0).listed_T3)


@pytest.mark.parametrize("world_size", [2, 4, 15])
def test_every_image_is_decoded_by_the_worker_that_forwards_it_alone(world_size: int) -> None:
    parts = [dataset(rank, world_size)[2] for rank in range(world_size)]
    assert torch.equal(torch.cat([part.inputs for part in parts]), dataset()[2].inputs)
    assert all(torch.equal(part.labels_B, parts[0].labels_B) and len(part.labels_B) == 15 for part in parts)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_old_vectors_of_the_whole_batch_come_with_every_workers_share(dtype: type[np.floating]) -> None:
    for rank in range(2):
        old = dataset(rank, 2, old_ND=OLD.astype(dtype))[2].old_BD
        assert old is not None and old.dtype == torch.float32
        np.testing.assert_array_equal(old, OLD.astype(dtype)[PLANNER.plan(2).ids_B])
    assert dataset()[2].old_BD is None


def test_a_worker_without_an_image_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"^the batch of step 0 has 15 images for 16 workers: lower"):
        dataset(0, 16)[0]


def same(a: LoadedBatch, b: LoadedBatch) -> bool:
    return a.step == b.step and torch.equal(a.inputs, b.inputs) and torch.equal(a.labels_B, b.labels_B)


def test_decoding_ahead_changes_nothing() -> None:
    in_line, ahead = (list(batches(dataset(), range(5, 8), workers)) for workers in (0, 2))
    assert [batch.step for batch in in_line] == [5, 6, 7]
    assert all(same(a, b) for a, b in zip(in_line, ahead, strict=True))


@pytest.mark.parametrize("decode_workers", [0, 1])
def test_an_error_of_a_decoding_process_stays_one_sentence_and_ends_it(decode_workers: int) -> None:
    before = multiprocessing.active_children()
    with pytest.raises(InputError, match=r"^example \d+ cannot be decoded: not an image$"):
        list(batches(StepDataset(PLANNER, refuse, 0, 1), range(1), decode_workers))
    assert multiprocessing.active_children() == before
