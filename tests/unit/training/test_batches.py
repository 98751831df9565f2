from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.arrays import Int64Array
from pipeline.config import BatchConfig
from pipeline.training.batches import Batch, BatchPlanner, ListedTriplets, RandomLabels, RandomTriplets, fill_batch
from tests.unit.training.samples import Examples, equal

EXAMPLES = Examples([y % 6 + 1 for y in range(30)])
CONFIG = BatchConfig(num_labels=8, images_per_label=3)
MINED = EXAMPLES.mined([(y, (y + 1) % 30) for y in range(30)], per_label=3)

SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=15).map(lambda sizes: [*sizes, 1, 2])
CONFIGS = st.builds(BatchConfig, num_labels=st.integers(2, 8), images_per_label=st.integers(2, 5))


def planner(kind: str, seed: int = 0) -> BatchPlanner:
    if kind == "online":
        return RandomLabels(EXAMPLES.index, CONFIG, "semi_hard", seed)
    if kind == "random":
        return RandomTriplets(EXAMPLES.index, CONFIG, seed)
    return ListedTriplets(MINED, CONFIG, seed, first_step=2)


def triplets_of(batch: Batch) -> Int64Array:
    """Listed triplets as example_ids."""
    assert batch.listed_T3 is not None and batch.selection == "all"
    assert len(np.unique(batch.ids_B)) == len(batch.ids_B) == len(batch.labels_B)
    assert batch.ids_B.dtype == batch.listed_T3.dtype == np.int64 and batch.labels_B.dtype == np.int32
    np.testing.assert_array_equal(batch.labels_B, EXAMPLES.label_of(batch.ids_B))
    return batch.ids_B[batch.listed_T3]


@pytest.mark.parametrize("kind", ["online", "random", "listed"])
def test_a_batch_depends_on_seed_and_step_alone(kind: str) -> None:
    first, again = planner(kind), planner(kind)
    forwards = [first.plan(step) for step in range(2, 7)]
    backwards = [again.plan(step) for step in reversed(range(2, 7))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not equal(forwards[0], forwards[1]) and not equal(forwards[0], planner(kind, seed=1).plan(2))


@settings(max_examples=60)
@given(SIZES, CONFIGS, st.integers(0, 1000))
def test_a_batch_of_random_labels_is_full_its_labels_are_true_and_its_images_distinct(
    sizes: list[int], config: BatchConfig, step: int
) -> None:
    examples = Examples(sizes)
    batch = RandomLabels(examples.index, config, "hard", seed=0).plan(step)
    examples.check(batch, config)
    there = sum(min(size, config.images_per_label) for size in sizes if size > 1)
    assert len(batch.ids_B) == min(config.num_images, there)
    assert batch.selection == "hard" and batch.listed_T3 is None


@settings(max_examples=60)
@given(SIZES, CONFIGS, st.data(), st.integers(0, 1000))
def test_chosen_labels_come_first_with_their_images_and_random_ones_fill_the_batch(
    sizes: list[int], config: BatchConfig, data: st.DataObject, seed: int
) -> None:
    examples = Examples(sizes)
    labels = data.draw(st.lists(st.integers(0, len(sizes) - 1), unique=True, max_size=config.num_labels))
    chosen = {label: examples.of(label)[::-1][: data.draw(st.integers(0, 2))] for label in labels}
    batch = fill_batch(chosen, examples.index, config, np.random.default_rng(seed), "all")
    examples.check(batch, config)
    assert list(dict.fromkeys(batch.labels_B.tolist()))[: len(labels)] == labels
    assert all(np.isin(images, batch.ids_B).all() for images in chosen.values())
    drawable = {label for label, size in enumerate(sizes) if size > 1} | set(labels)
    there = sum(min(sizes[label], config.images_per_label) for label in drawable)
    assert len(batch.ids_B) == min(config.num_images, there)


def test_random_triplets_are_triplets_of_all_labels() -> None:
    seen = []
    for step in range(60):
        triplets = triplets_of(planner("random").plan(step))
        assert triplets.shape == (CONFIG.num_images // 3, 3)
        anchor, positive, negative = EXAMPLES.label_of(triplets).T
        assert (anchor == positive).all() and (anchor != negative).all() and (triplets[:, 0] != triplets[:, 1]).all()
        seen.append(np.stack([anchor, negative]))
    anchors, negatives = np.concatenate(seen, axis=1)
    assert set(anchors.tolist()) == set(EXAMPLES.index.labels_L.tolist())
    assert set(negatives.tolist()) == set(range(30))


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(2, 8), st.integers(2, 5), st.integers(0, 10**6), st.integers(0, 2**32 - 1))
def test_every_listed_triplet_comes_once_before_any_comes_again(
    num: int, num_labels: int, images_per_label: int, first_step: int, seed: int
) -> None:
    rows = np.arange(num) % len(MINED)
    columns = ("anchor_T", "positive_T", "negative_T", "anchor_label_T", "negative_label_T")
    some = replace(MINED, **{name: getattr(MINED, name)[rows] for name in columns})
    config = BatchConfig(num_labels=num_labels, images_per_label=images_per_label)
    listed = ListedTriplets(some, config, seed, first_step)
    num_steps = 2 * num // (config.num_images // 3) + 2
    came = np.concatenate([triplets_of(listed.plan(first_step + step)) for step in range(num_steps)]).tolist()
    expected = sorted(np.stack([some.anchor_T, some.positive_T, some.negative_T], axis=1).tolist())
    for epoch in range(2):
        assert sorted(came[epoch * num : (epoch + 1) * num]) == expected


def test_listed_triplets_that_share_an_image_forward_it_once() -> None:
    examples = Examples([4, 2])
    mined = examples.mined([(0, 1)], per_label=12)
    batch = ListedTriplets(mined, BatchConfig(num_labels=9, images_per_label=4), seed=0, first_step=0).plan(0)
    assert batch.listed_T3 is not None and batch.listed_T3.shape == (12, 3)
    assert batch.ids_B.tolist() == examples.ids_N.tolist()
    found = sorted(batch.ids_B[batch.listed_T3].tolist())
    assert found == np.stack([mined.anchor_T, mined.positive_T, mined.negative_T], axis=1).tolist()
