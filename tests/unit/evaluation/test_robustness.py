import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import EvaluationConfig, RobustnessConfig
from pipeline.errors import InputError
from pipeline.evaluation.evaluate import evaluate_embeddings
from pipeline.evaluation.robustness.perturbations import Perturbation, perturbation_sweeps
from pipeline.evaluation.robustness.protocol import Robustness, evaluate_robustness, figures_of_merit, sample_examples
from tests.unit.evaluation.samples import brute_force_distances, unit_vectors

CONFIG = EvaluationConfig()
VAL = "val_at_far_1e-03"
JPEG = [Perturbation("jpeg", float(quality)) for quality in (10, 50, 90)]


def evaluated(noises: tuple[float, ...] = (2.0, 1.0, 0.7)) -> Robustness:
    """Noisier embeddings for a lower quality."""
    whole, labels = unit_vectors(120, 12, noise=0.6, seed=0)
    perturbed = [unit_vectors(120, 12, noise, seed=0)[0] for noise in noises]
    return evaluate_robustness(whole, zip(JPEG, perturbed, strict=True), labels, CONFIG, seed=0)


def test_each_figure_is_that_of_its_embeddings() -> None:
    result = evaluated()
    rows = {row.value: row.metrics for row in result.sweeps[0].rows}
    for quality, noise in ((10, 2.0), (50, 1.0), (90, 0.7)):
        embeddings, labels = unit_vectors(120, 12, noise, seed=0)
        expected = evaluate_embeddings(embeddings, labels, CONFIG, seed=0).metrics()
        assert {name: rows[quality][name] for name in expected} == expected
    assert result.unperturbed[VAL] == evaluate_embeddings(*unit_vectors(120, 12, 0.6, seed=0), CONFIG, 0).metrics()[VAL]


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_pair_accuracy_is_the_best_of_all_thresholds(noise: float) -> None:
    embeddings, labels = unit_vectors(60, 6, noise, seed=4)
    same, different = (np.array(kind) for kind in brute_force_distances(embeddings, labels))
    thresholds = [-1.0, *(np.concatenate([same, different]) + 1e-9)]
    best = max(((same <= t).mean() + (different > t).mean()) / 2 for t in thresholds)
    found = figures_of_merit(evaluate_embeddings(embeddings, labels, CONFIG, seed=0))
    assert found["pair_accuracy"] == pytest.approx(best, abs=1e-6)


def test_images_that_nothing_perturbs_keep_everything() -> None:
    result = evaluated((0.6, 0.6, 0.6))
    assert all(row.metrics == result.unperturbed for row in result.sweeps[0].rows)
    assert result.metrics()["val_kept_at_far_1e-03_jpeg"] == pytest.approx(1.0)


def test_the_names_of_the_metrics_are_stable() -> None:
    result = evaluated()
    names = {f"val_at_far_{far}_{what}" for far in ("1e-03", "1e-02") for what in ("unspoilt", "jpeg_10", "jpeg_50")}
    assert set(result.metrics()) == names | {
        "val_at_far_1e-03_jpeg_90", "val_at_far_1e-02_jpeg_90", "val_kept_at_far_1e-03_jpeg",
    }  # fmt: skip
    assert result.metrics()["val_at_far_1e-03_jpeg_10"] == result.sweeps[0].rows[0].metrics[VAL]


def test_a_sweep_is_summed_up_as_the_mean_share_that_is_retained() -> None:
    found = evaluated().metrics()
    mean = np.mean([found[f"{VAL}_jpeg_{quality}"] for quality in (10, 50, 90)])
    assert found["val_kept_at_far_1e-03_jpeg"] == pytest.approx(mean / found[f"{VAL}_unspoilt"])
    assert 0 < found["val_kept_at_far_1e-03_jpeg"] < 1


def test_where_unperturbed_images_achieve_nothing_there_is_no_share_to_retain() -> None:
    labels = np.repeat(np.arange(5), 4)
    collapsed = np.ones((20, 2), dtype=np.float32)
    result = evaluate_robustness(collapsed, [(JPEG[0], collapsed)], labels, CONFIG, seed=0)
    assert result.metrics()[f"{VAL}_unspoilt"] == 0.0
    assert not [name for name in result.metrics() if "kept" in name]


def test_the_document_is_plain_json_and_reads_back() -> None:
    document = evaluated().to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["num_examples"] == 120
    assert document["num_same_pairs"] + document["num_different_pairs"] == 120 * 119 / 2
    assert document["sweeps"]["jpeg"]["rows"][0]["value"] == 10


def test_the_order_of_the_perturbations_does_not_matter() -> None:
    whole, labels = unit_vectors(60, 6, noise=0.6, seed=0)
    perturbed = [(perturbation, unit_vectors(60, 6, 1 + place, seed=0)[0]) for place, perturbation in enumerate(JPEG)]
    results = [evaluate_robustness(whole, given, labels, CONFIG, 0) for given in (perturbed, perturbed[::-1])]
    assert results[0] == results[1]


def test_real_images_are_harder_to_tell_the_more_they_are_perturbed() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(30), 4)
    classes = rng.integers(100, 156, size=(30, 12, 12))
    images = [Image.fromarray((classes[label] + rng.normal(0, 25, (12, 12))).astype(np.uint8)) for label in labels]
    images = [image.resize((48, 48), Image.Resampling.NEAREST) for image in images]

    def embed(perturbation: Perturbation | None) -> npt.NDArray[np.float32]:
        seen = [perturbation.apply(image, place) if perturbation else image for place, image in enumerate(images)]
        vectors = np.stack([np.asarray(image, dtype=np.float32).ravel() - 128 for image in seen])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def perturbed() -> Iterator[tuple[Perturbation, npt.NDArray[np.float32]]]:
        config = RobustnessConfig(
            jpeg_qualities=(1, 90),
            image_sizes=(4, 24),
            blur_radii=(1, 20),
            occlusions=(0.05, 0.9),
            noise_levels=(5, 250),
        )
        for perturbations in perturbation_sweeps(config).values():
            for perturbation in perturbations:
                yield perturbation, embed(perturbation)

    result = evaluate_robustness(embed(None), perturbed(), labels, CONFIG, seed=0)
    assert [sweep.name for sweep in result.sweeps] == ["jpeg", "size", "blur", "occlusion", "noise"]
    for sweep in result.sweeps:
        rows = sweep.rows if sweep.name in ("jpeg", "size") else sweep.rows[::-1]
        harder, easier = (row.metrics["roc_auc"] for row in rows)
        assert harder < easier - 0.01, sweep.name
        assert easier > result.unperturbed["roc_auc"] - 0.05, sweep.name


def test_without_any_perturbation_there_is_nothing_to_measure() -> None:
    with pytest.raises(InputError, match=r"no sweep of evaluation\.robustness has a value"):
        evaluate_robustness(*unit_vectors(20, 3, 0.5, seed=0)[:1], [], unit_vectors(20, 3, 0.5, seed=0)[1], CONFIG, 0)


def test_a_network_that_breaks_on_perturbed_images_is_an_input_error() -> None:
    whole, labels = unit_vectors(20, 3, noise=0.5, seed=0)
    broken = whole.copy()
    broken[3, 0] = np.nan
    with pytest.raises(InputError, match="1 of 20 embeddings hold NaN"):
        evaluate_robustness(whole, [(JPEG[0], broken)], labels, CONFIG, 0)


@given(st.lists(st.integers(0, 12), min_size=4, max_size=60), st.integers(4, 70), st.integers(0, 99))
def test_a_sample_holds_as_many_whole_labels_with_pairs_as_have_room(labels: list[int], room: int, seed: int) -> None:
    counts = {label: labels.count(label) for label in labels if labels.count(label) >= 2}
    smallest = sorted(counts.values())[:2]
    if len(smallest) < 2 or sum(smallest) > room:
        with pytest.raises(InputError):
            sample_examples(labels, room, seed)
        return
    ids = sample_examples(labels, room, seed).tolist()
    assert ids == sorted(set(ids))
    chosen = {labels[place] for place in ids}
    assert len(ids) == sum(counts[label] for label in chosen) <= room
    assert len(chosen) >= 2
    left = room - len(ids)
    left_out = [count for label, count in counts.items() if label not in chosen]
    assert all(count > min(left, room - smallest[0]) for count in left_out)
    assert ids == sample_examples(labels, room, seed).tolist()


def test_the_seed_decides_which_labels_are_drawn() -> None:
    labels = np.repeat(np.arange(100), 3)
    drawn = [set((sample_examples(labels, 30, seed) // 3).tolist()) for seed in range(40)]
    assert all(len(chosen) == 10 for chosen in drawn)
    assert len(set().union(*drawn)) > 90


def test_where_all_have_room_all_are_taken_and_singletons_are_not() -> None:
    assert sample_examples([5, 5, 7, 9, 9, 9], 6, seed=1).tolist() == [0, 1, 3, 4, 5]


def test_a_label_that_leaves_no_room_for_another_is_left_out() -> None:
    labels = [0] * 10 + [1] * 3 + [2] * 3
    for seed in range(10):
        assert sample_examples(labels, 11, seed).tolist() == list(range(10, 16))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 0, 1, 2], "the 4 evaluated examples have 1: raise corpus.test_fraction"),
        ([0] * 6 + [1] * 9, "the smallest have 6 and 9: raise evaluation.robustness.max_examples to 15 or more"),
    ],
)
def test_labels_that_give_no_sample_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample_examples(labels, 10, seed=0)
