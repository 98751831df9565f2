import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config import BatchConfig
from pipeline.errors import InputError
from pipeline.training.batches import Batch, Mined, Neighbourhoods, Pool, RandomLabels, RandomTriplets

LABELS = np.repeat(np.arange(30), np.arange(30) % 6 + 1).astype(np.int32)  # 1 to 6 examples a label
IDS = np.arange(len(LABELS), dtype=np.int64) * 3  # training ids have gaps


def label_of(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    labels: npt.NDArray[np.int32] = LABELS[ids // 3]
    return labels


def mined() -> Mined:
    """Every label with two examples is joined to the next one, and has the two after as further neighbours."""
    rows = [np.flatnonzero(label == LABELS) for label in range(30)]
    triplets = [(rows[y][0], rows[y][1], rows[(y + 1) % 30][0]) for y in range(30) if len(rows[y]) > 1]
    a, p, n = (IDS[list(column)] for column in zip(*triplets, strict=True))
    neighbours = {y: np.array([(y + 1) % 30, (y + 2) % 30, (y + 3) % 30], dtype=np.int32) for y in range(30)}
    return Mined(a, p, n, label_of(a), label_of(n), neighbours)


def planner(kind: str, config: BatchConfig, seed: int = 0) -> RandomLabels | RandomTriplets | Neighbourhoods:
    pool = Pool(IDS, LABELS)
    if kind == "mined":
        return Neighbourhoods(pool, mined(), config, "semi_hard", seed)
    return RandomLabels(pool, config, seed) if kind == "online" else RandomTriplets(pool, config, seed)


def equal(a: Batch, b: Batch) -> bool:
    return np.array_equal(a.ids_B, b.ids_B)


@pytest.mark.parametrize("kind", ["mined", "online", "random"])
def test_a_batch_depends_on_seed_and_step_alone(kind: str) -> None:
    config = BatchConfig(num_labels=8, images_per_label=3)
    first, again = planner(kind, config), planner(kind, config)
    forwards = [first.plan(step) for step in range(5)]
    backwards = [again.plan(step) for step in reversed(range(5))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not equal(forwards[0], forwards[1]) and not equal(forwards[0], planner(kind, config, seed=1).plan(0))


@pytest.mark.parametrize("kind", ["mined", "online", "random"])
def test_a_batch_is_full_its_labels_are_true_and_images_are_forwarded_once(kind: str) -> None:
    config = BatchConfig(num_labels=8, images_per_label=3, random_share=0.5)
    for step in range(40):
        batch = planner(kind, config).plan(step)
        assert len(batch.ids_B) == config.num_images == len(batch.labels_B)
        np.testing.assert_array_equal(batch.labels_B, label_of(batch.ids_B))
        if kind != "random":
            assert len(np.unique(batch.ids_B)) == len(batch.ids_B)
            assert np.bincount(batch.labels_B).max() <= 3


def test_random_triplets_are_triplets() -> None:
    batch = planner("random", BatchConfig(num_labels=20, images_per_label=3)).plan(0)
    assert batch.listed_T3 is not None and len(batch.listed_T3) == 20
    anchor, positive, negative = batch.ids_B[batch.listed_T3].T
    assert (anchor != positive).all()
    assert (label_of(anchor) == label_of(positive)).all() and (label_of(anchor) != label_of(negative)).all()


def test_cliques_join_mined_neighbours_and_hold_the_listed_triplets() -> None:
    config = BatchConfig(num_labels=6, images_per_label=3, clique_size=3, random_share=0.0)
    triplets = mined()
    for step in range(30):
        batch = planner("mined", config).plan(step)
        held = np.isin(np.stack([triplets.anchor_T, triplets.positive_T, triplets.negative_T]), batch.ids_B).all(axis=0)
        assert held.any(), "a listed triplet is in the batch with all its images"
        first = int(batch.labels_B[0])
        assert {(first + 1) % 30, (first + 2) % 30} <= set(batch.labels_B.tolist())


def test_the_random_share_is_kept() -> None:
    pool = Pool(IDS, LABELS)
    for share, num_mined in ((1.0, 0), (0.0, 6)):
        config = BatchConfig(num_labels=6, images_per_label=3, clique_size=2, random_share=share)
        chosen = Neighbourhoods(pool, mined(), config, "all", 0).plan(0)
        joined = {(label + 1) % 30 for label in chosen.labels_B} & set(chosen.labels_B.tolist())
        assert len(joined) >= num_mined // 2


def test_a_generation_without_triplets_gives_random_batches() -> None:
    nothing = np.empty(0, dtype=np.int64)
    codes = np.empty(0, dtype=np.int32)
    empty = Mined(nothing, nothing, nothing, codes, codes, {})
    config = BatchConfig(num_labels=4, images_per_label=3)
    assert len(Neighbourhoods(Pool(IDS, LABELS), empty, config, "all", 0).plan(0).ids_B) == 12


def test_a_clique_of_one_label_is_still_a_mined_one() -> None:
    config = BatchConfig(num_labels=6, images_per_label=3, clique_size=1, random_share=0.0)
    only_label_5 = mined()
    rows = only_label_5.anchor_label_T == 5
    one = Mined(
        anchor_T=only_label_5.anchor_T[rows],
        positive_T=only_label_5.positive_T[rows],
        negative_T=only_label_5.negative_T[rows],
        anchor_label_T=only_label_5.anchor_label_T[rows],
        negative_label_T=only_label_5.negative_label_T[rows],
        neighbours={},
    )
    for step in range(10):
        assert 5 in Neighbourhoods(Pool(IDS, LABELS), one, config, "all", 0).plan(step).labels_B


def test_examples_that_cannot_form_a_triplet_are_refused_before_the_first_step() -> None:
    for labels in ([4, 4, 4], [1, 2, 3]):
        with pytest.raises(InputError, match="two labels"):
            Pool(np.arange(3), np.array(labels, dtype=np.int32))
