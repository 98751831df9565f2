from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import BatchConfig
from pipeline.config.training import Selection
from pipeline.training.batches import Batch, RandomLabels
from pipeline.training.label_index import LabelIndex
from pipeline.training.neighbourhoods import Neighbourhoods
from pipeline.training.triplet_shard import TripletShard
from tests.unit.training.samples import CONFIG, Examples, equal

# Labels 0, 4, … 44 seed cliques, each with its two successors for neighbours: cliques never overlap. Labels 2, 6, … 46
# do so in the generation before. Labels from 48 on were not mined.
EXAMPLES = Examples([5] * 64)
SEED_LABELS, SEED_LABELS_BEFORE = list(range(0, 48, 4)), list(range(2, 48, 4))
MINED = EXAMPLES.mined(
    [(y, y + 1) for y in SEED_LABELS], per_label=3, neighbours={y: [y + 1, y + 2, y + 3] for y in SEED_LABELS}
)
BEFORE = EXAMPLES.mined([(y, y + 1) for y in SEED_LABELS_BEFORE], per_label=3, generation=0)
NOTHING = EXAMPLES.mined([])
NEGATIVE_OF = {(a, p): n for a, p, n in zip(MINED.anchor_T, MINED.positive_T, MINED.negative_T, strict=True)}


def neighbourhoods(
    batch: BatchConfig,
    first_step: int = 0,
    shard: TripletShard = MINED,
    previous: TripletShard | None = None,
    seed: int = 0,
    index: LabelIndex = EXAMPLES.index,
    selection: Selection = "semi_hard",
) -> Neighbourhoods:
    config = CONFIG.model_copy(update={"batch": batch, "selection": selection})
    return Neighbourhoods(config, index, seed, first_step, shard, previous)


def cliques(**changes: float) -> BatchConfig:
    """Batches of nothing but cliques, so that a batch shows their seeds."""
    sizes = {"num_labels": 6, "images_per_label": 2, "clique_size": 2, "random_share": 0.0}
    return BatchConfig.model_validate(sizes | changes)


def labels_in(batch: Batch) -> list[int]:
    """Each once, in order."""
    return list(dict.fromkeys(batch.labels_B.tolist()))


def seed_labels_in(distinct: list[int]) -> list[int]:
    """Of labels in order, those that seed cliques of two."""
    assert all(other == label + 1 for label, other in zip(distinct[::2], distinct[1::2], strict=True))
    return distinct[::2]


def assert_epochs(seed_labels: list[int], of: list[int]) -> None:
    """Every epoch has each label once."""
    assert len(seed_labels) >= 2 * len(of)
    for start in range(0, len(seed_labels), len(of)):
        epoch = seed_labels[start : start + len(of)]
        assert len(set(epoch)) == len(epoch) and set(epoch) <= set(of)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    config = cliques(random_share=0.5, previous_share=0.5, in_batch_share=0.3)
    first, again = (neighbourhoods(config, previous=BEFORE) for _ in range(2))
    forwards = [first.plan(step) for step in range(12)]
    backwards = [again.plan(step) for step in reversed(range(12))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not any(equal(a, b) for a, b in pairwise(forwards))
    assert not equal(forwards[0], neighbourhoods(config, previous=BEFORE, seed=1).plan(0))


LABEL = st.integers(0, 19)


@settings(max_examples=80)
@given(
    st.lists(st.tuples(LABEL, LABEL).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=25, unique=True),
    st.dictionaries(LABEL, st.lists(LABEL, unique=True, max_size=5), max_size=20),
    st.builds(
        BatchConfig,
        num_labels=st.integers(2, 12),
        images_per_label=st.integers(2, 4),
        clique_size=st.integers(1, 5),
        random_share=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        previous_share=st.sampled_from([0.0, 0.4, 1.0]),
        in_batch_share=st.sampled_from([0.0, 0.4, 1.0]),
    ),
    st.integers(0, 500),
)
def test_a_batch_is_full_its_labels_are_true_and_its_images_distinct_however_cliques_overlap(
    joined: list[tuple[int, int]], near: dict[int, list[int]], config: BatchConfig, step: int
) -> None:
    examples = Examples([y % 5 + 2 for y in range(40)])
    neighbours = {label: [other for other in others if other != label] for label, others in near.items()}
    mined, before = (examples.mined(joined, 2, generation, neighbours) for generation in (1, 0))
    batch = neighbourhoods(config, 0, mined, before, index=examples.index, selection="band").plan(step)
    examples.check(batch, config)
    assert len(batch.ids_B) == config.num_images and batch.selection == "band"


def test_a_clique_holds_its_triplets_images_and_the_anchors_nearest_neighbours() -> None:
    planner = neighbourhoods(cliques(num_labels=6, clique_size=3))
    for step in range(30):
        batch = planner.plan(step)
        labels = labels_in(batch)
        for seed_label in (labels[0], labels[3]):
            assert seed_label in SEED_LABELS and {seed_label, seed_label + 1, seed_label + 2} <= set(labels)
            anchor, positive = batch.ids_B[batch.labels_B == seed_label]
            assert NEGATIVE_OF[anchor, positive] in batch.ids_B


def test_a_clique_of_one_label_holds_the_pair_without_the_negative() -> None:
    config = cliques(clique_size=1, num_labels=3)
    planner = neighbourhoods(config)
    assert_epochs([label for step in range(8) for label in labels_in(planner.plan(step))], SEED_LABELS)


def test_a_seed_label_without_further_neighbours_makes_a_smaller_clique() -> None:
    planner = neighbourhoods(cliques(clique_size=4, num_labels=4), shard=BEFORE)
    for step in range(10):
        labels = labels_in(planner.plan(step))
        assert labels[0] in SEED_LABELS_BEFORE and labels[1] == labels[0] + 1 and len(labels) == 4


@pytest.mark.parametrize(("share", "num_mined"), [(0.0, 12), (0.5, 6), (2 / 3, 4), (1.0, 0)])
def test_the_random_share_is_kept(share: float, num_mined: int) -> None:
    config = cliques(num_labels=12, random_share=share)
    planner, random = neighbourhoods(config), RandomLabels(EXAMPLES.index, config, "semi_hard", seed=0)
    others: list[int] = []
    for step in range(40):
        batch = planner.plan(step)
        labels = labels_in(batch)
        assert len(labels) == 12 and set(seed_labels_in(labels[:num_mined])) <= set(SEED_LABELS)
        others += labels[num_mined:]
        assert num_mined or equal(batch, random.plan(step))
    # What is not mined is any label: about a quarter of all were never mined.
    assert not others or 0.15 < np.mean(np.array(others) >= 48) < 0.45


def test_a_batch_has_a_clique_unless_all_of_it_is_random() -> None:
    planner = neighbourhoods(cliques(num_labels=4, clique_size=8, random_share=0.9))
    assert all(planner.plan(step).labels_B[0] in SEED_LABELS for step in range(20))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 2 / 3, 1.0])
def test_the_previous_share_is_exact_and_neither_generation_repeats_a_seed_within_an_epoch(share: float) -> None:
    planner = neighbourhoods(cliques(num_labels=2, previous_share=share), first_step=5, previous=BEFORE)
    seed_labels = [label for step in range(5, 305) for label in seed_labels_in(labels_in(planner.plan(step)))]
    previous = [label for label in seed_labels if label in SEED_LABELS_BEFORE]
    current = [label for label in seed_labels if label in SEED_LABELS]
    assert len(seed_labels) == len(previous) + len(current) == 300
    for num in range(1, 301):
        assert abs(sum(label in SEED_LABELS_BEFORE for label in seed_labels[:num]) - num * share) < 1.0
    for part, of in ((previous, SEED_LABELS_BEFORE), (current, SEED_LABELS)):
        if part:
            assert_epochs(part, of)


@pytest.mark.parametrize("previous", [None, NOTHING])
def test_without_a_generation_before_all_cliques_are_of_the_present_one(previous: TripletShard | None) -> None:
    config = cliques(previous_share=0.5)
    with_share, without = neighbourhoods(config, previous=previous), neighbourhoods(cliques())
    assert all(equal(with_share.plan(step), without.plan(step)) for step in range(10))


@pytest.mark.parametrize("first_step", [0, 7])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.7, 1.0])
def test_the_in_batch_share_is_exact_and_costs_no_label_its_turn(share: float, first_step: int) -> None:
    config = cliques(in_batch_share=share)  # three cliques a batch: an epoch is four batches
    planner = neighbourhoods(config, first_step)
    random = RandomLabels(EXAMPLES.index, config, "semi_hard", seed=0)
    seed_labels: list[int] = []
    num_random = 0
    for num in range(1, 201):
        batch = planner.plan(first_step + num - 1)
        if equal(batch, random.plan(first_step + num - 1)):
            num_random += 1
        else:
            seed_labels += seed_labels_in(labels_in(batch))
        assert abs(num_random - num * share) < 1.0 + 1e-9
    assert num_random == round(200 * share) and len(seed_labels) == 3 * (200 - num_random)
    if seed_labels:
        assert_epochs(seed_labels, SEED_LABELS)
    if share == 0.5:
        without = neighbourhoods(cliques(), first_step)
        plans = (without.plan(first_step + step) for step in range(100))
        assert seed_labels == [label for batch in plans for label in seed_labels_in(labels_in(batch))]


def test_a_generation_without_triplets_gives_random_batches() -> None:
    config = cliques()
    random = RandomLabels(EXAMPLES.index, config, "semi_hard", seed=0)
    assert all(equal(neighbourhoods(config, shard=NOTHING).plan(step), random.plan(step)) for step in range(5))


def test_what_was_left_out_of_the_pool_is_in_no_batch_though_the_generation_before_names_it() -> None:
    left_out = np.concatenate([np.concatenate([EXAMPLES.of(y)[:2], EXAMPLES.of(y + 1)]) for y in SEED_LABELS_BEFORE])
    index, config = EXAMPLES.index.without(left_out), cliques(previous_share=1.0)
    planner = neighbourhoods(config, previous=BEFORE, index=index)
    for step in range(20):
        batch = planner.plan(step)
        EXAMPLES.check(batch, config)
        assert len(batch.ids_B) == config.num_images and not np.isin(batch.ids_B, left_out).any()


def test_a_label_of_one_image_may_be_a_neighbour() -> None:
    examples = Examples([3, 1, 3, 3, 3])
    mined = examples.mined([(0, 1)], neighbours={0: [1]})
    batch = neighbourhoods(cliques(num_labels=3), shard=mined, index=examples.index).plan(0)
    assert np.count_nonzero(batch.labels_B == 1) == 1 and len(batch.ids_B) == 6


def test_a_label_that_two_cliques_share_brings_the_images_of_both_triplets() -> None:
    labels = np.arange(6, dtype=np.int32)  # each seeds a clique, and is the negative's label of the one before
    ids = np.stack([EXAMPLES.of(label) for label in range(6)])
    after = np.roll(labels, -1)
    ring = TripletShard(1, ids[:, 0], ids[:, 1], ids[after, 4], labels, after, NOTHING.neighbours)
    plans = neighbourhoods(cliques(num_labels=6, images_per_label=3, clique_size=2), shard=ring)
    for step in range(0, 6, 2):  # an epoch each: two steps of three cliques
        held = [
            np.isin(np.stack([ring.anchor_T, ring.positive_T, ring.negative_T]), plans.plan(at).ids_B)
            for at in (step, step + 1)
        ]
        whole = [int(at.all(axis=0).sum()) for at in held]
        assert min(whole) >= 3 and sum(whole) >= 6, "every seed is in its batch with all of its triplet"


def test_whole_cliques_do_not_take_the_places_of_random_labels() -> None:
    config = cliques(num_labels=9, clique_size=9, random_share=0.2)
    wide = EXAMPLES.mined([(y, y + 1) for y in SEED_LABELS], neighbours={y: list(range(48)) for y in SEED_LABELS})
    planner = neighbourhoods(config, shard=wide)
    never_mined = [label >= 48 for step in range(60) for label in labels_in(planner.plan(step))]
    assert 0 < sum(never_mined) <= 2 * 60, "two of nine labels are random, and only they can be such as were not mined"
