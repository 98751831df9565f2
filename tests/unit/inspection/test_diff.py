"""What changed between two generations is what two sets of triplets say."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.corpus.reader import Corpus
from pipeline.errors import CorruptDataError
from pipeline.inspection.generation import open_generation
from pipeline.inspection.summary.diff import GenerationDiff, diff_generations
from pipeline.mining.triplets import Triplets
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import TRIPLETS, to_arrow
from tests.support.refusals import refusal
from tests.support.s3_server import S3Server
from tests.unit.corpus.samples import run_prepare
from tests.unit.inspection.command_line import RunTriplets
from tests.unit.inspection.report_samples import LABELS, PER_LABEL, image_corpus, prepared, publish_generation

Triplet = tuple[int, int, int]
Distances = Mapping[Triplet, float]
"""d_an by triplet; a generation has no triplet twice."""

MARKUP = "[bold]Zoë[/bold] \x1b[31m"


def table_of(distances: Distances) -> pa.Table:
    ids = np.array(sorted(distances), np.int64).reshape(-1, 3)
    d_an = np.array([distances[triplet] for triplet in sorted(distances)], np.float32)
    anchor, positive, negative = ids.T
    return to_arrow(Triplets(anchor, positive, negative, np.full(len(ids), 0.5, np.float32), d_an))


def sampled(corpus: Corpus, seed: int, share: float, negatives_per_pair: int) -> Distances:
    """A share of all pairs of the corpus, with negatives of other labels, from few to choose from, and distances."""
    rng, labels = np.random.default_rng(seed), corpus.labels
    found = {}
    for anchor in range(corpus.num_examples):
        others = np.flatnonzero(labels != labels[anchor])[:4]
        for positive in np.flatnonzero(labels == labels[anchor]):
            if positive != anchor and rng.random() < share:
                for negative in rng.choice(others, min(negatives_per_pair, len(others)), replace=False):
                    found[anchor, int(positive), int(negative)] = float(rng.integers(1, 9)) / 8
    return found


def published(workspace: Workspace, number: int) -> Distances:
    """What the shards of a generation hold."""
    generation = Generation(generations(workspace), generations(workspace).read(number))
    shards = [generation.shard(index) for index in range(generation.num_shards)]
    rows = [row for shard in shards for row in shard.to_pylist()]
    found = {(row["anchor"], row["positive"], row["negative"]): row["d_an"] for row in rows}
    assert len(found) == len(rows)
    return found


def nearest(distances: Distances) -> dict[tuple[int, int], float]:
    """By pair, d_an of its nearest negative."""
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    for (anchor, positive, _), d_an in distances.items():
        found[anchor, positive].append(d_an)
    return {pair: min(all_d_an) for pair, all_d_an in found.items()}


def expected_counts(old: Iterable[Triplet], new: Iterable[Triplet]) -> dict[str, int]:
    was, now = set(old), set(new)
    in_old, in_new = {triplet[:2] for triplet in was}, {triplet[:2] for triplet in now}
    unlike = {triplet[:2] for triplet in was ^ now}
    return {
        "num_kept": len(was & now),
        "num_same": len((in_old & in_new) - unlike),
        "num_changed": len(in_old & in_new & unlike),
        "num_entered": len(in_new - in_old),
        "num_left": len(in_old - in_new),
    }


def counts_of(diff: Any) -> dict[str, int]:  # noqa: ANN401 — GenerationDiff or LabelDiff
    return {name: getattr(diff, name) for name in expected_counts([], [])}


def check(workspace: Workspace, old: int, new: int) -> GenerationDiff:
    """Compares all that is found with the oracle."""
    corpus, was, now = Corpus.open(workspace), published(workspace, old), published(workspace, new)
    found = diff_generations(open_generation(workspace, old), open_generation(workspace, new))
    assert (found.old, found.new) == (old, new)
    assert counts_of(found) == expected_counts(was, now)
    in_old, in_new = nearest(was), nearest(now)
    both = in_old.keys() & in_new.keys()
    assert found.num_nearer == sum(in_new[pair] < in_old[pair] for pair in both)
    assert found.num_farther == sum(in_new[pair] > in_old[pair] for pair in both)
    if both:
        assert found.old_d_an == pytest.approx(sum(in_old[pair] for pair in both) / len(both), rel=1e-12)
        assert found.new_d_an == pytest.approx(sum(in_new[pair] for pair in both) / len(both), rel=1e-12)
    else:
        assert found.old_d_an is found.new_d_an is None
    by_label = {}
    for code, label in enumerate(corpus.label_names):
        mine = [{triplet for triplet in triplets if corpus.labels[triplet[0]] == code} for triplets in (was, now)]
        if any(mine):
            by_label[label] = expected_counts(*mine)
    assert {label.label: counts_of(label) for label in found.labels} == by_label
    shares = [(-label.changed_share, -label.num_pairs, label.label) for label in found.labels]
    assert shares == sorted(shares)
    return found


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Generation 0: few pairs; 1: most; 2: the same draw, two negatives a pair; 3: all, three; 4: empty; read only."""
    made = prepared(tmp_path_factory.mktemp("run"))
    corpus = Corpus.open(made)
    for number, (share, negatives_per_pair) in enumerate([(0.4, 1), (0.8, 1), (0.8, 2), (1.0, 3)]):
        publish_generation(made, number, table_of(sampled(corpus, number, share, negatives_per_pair)), rows_per_shard=7)
    publish_generation(made, 4, TRIPLETS.empty_table())
    return made


@pytest.mark.parametrize(
    ("old", "new"), [(0, 1), (1, 0), (1, 2), (2, 3), (3, 2), (0, 3), (2, 2), (0, 4), (4, 3), (4, 4)]
)
def test_every_count_is_that_of_sets_of_the_triplets(workspace: Workspace, old: int, new: int) -> None:
    check(workspace, old, new)


def test_the_samples_hold_every_case(workspace: Workspace) -> None:
    found = check(workspace, 2, 3)
    assert min(found.num_kept, found.num_changed, found.num_entered, found.num_nearer, found.num_farther) > 0
    assert min(check(workspace, 0, 1).num_same, check(workspace, 1, 0).num_left) > 0


def test_a_worked_example(tmp_path: Path) -> None:
    """Labels of three examples each: a 0-2, b 3-5, c 6-8."""
    workspace = prepared(tmp_path, ["a", "b", "c"])
    old = {(0, 1, 3): 0.5, (0, 1, 4): 0.25, (1, 0, 3): 0.5, (3, 4, 0): 0.5, (6, 7, 0): 0.5}
    new = {(0, 1, 3): 0.5, (0, 1, 5): 0.75, (1, 0, 3): 0.25, (3, 4, 0): 0.5, (7, 6, 0): 0.5}
    for number, distances in enumerate((old, new)):
        publish_generation(workspace, number, table_of(distances), rows_per_shard=2)
    found = check(workspace, 0, 1)
    assert counts_of(found) == {"num_kept": 3, "num_same": 2, "num_changed": 1, "num_entered": 1, "num_left": 1}
    assert (found.num_nearer, found.num_farther) == (1, 1)  # of (1, 0), and of (0, 1), whose nearest was 0.25
    assert (found.num_pairs, found.changed_share) == (5, 0.6)
    assert (found.old_d_an, found.new_d_an) == (1.25 / 3, 1.25 / 3)
    assert [(label.label, label.changed_share) for label in found.labels] == [("c", 1.0), ("a", 0.5), ("b", 0.0)]


def test_a_generation_compared_with_itself_has_not_changed_even_where_it_is_empty(workspace: Workspace) -> None:
    full, empty = check(workspace, 3, 3), check(workspace, 4, 4)
    assert full.num_same == full.num_pairs == len(LABELS) * PER_LABEL * 2
    assert full.num_nearer == full.num_farther == empty.num_pairs == 0 and empty.labels == ()
    assert full.changed_share == empty.changed_share == 0.0


def test_anchors_of_one_label_alone_are_one_row(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, ["a", "b"])
    for number, negative in enumerate((3, 4)):
        publish_generation(workspace, number, table_of({(0, 1, negative): 0.5, (2, 1, 5): 0.5}))
    (only,) = check(workspace, 0, 1).labels
    assert only.label == "a" and only.changed_share == 0.5


def test_it_is_the_same_in_s3(s3_environment: S3Server, tmp_path: Path) -> None:
    workspace = prepared(tmp_path, uri=f"s3://{s3_environment.bucket}/diff")
    corpus = Corpus.open(workspace)
    for number in range(2):
        publish_generation(workspace, number, table_of(sampled(corpus, number, 0.8, 2)))
    assert check(workspace, 0, 1).num_changed > 0


def test_generations_of_different_corpora_are_not_compared(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, ["a", "b"])
    old = publish_generation(workspace, 0, table_of({(0, 1, 3): 0.5}))
    run_prepare(image_corpus(tmp_path / "new", ["y", "z"]), workspace, again=True)
    new = publish_generation(workspace, 1, table_of({(0, 1, 3): 0.5}))
    assert refusal(lambda: diff_generations(old, new)) == (
        "generations 0 and 1 were mined from different corpora, where the same id may mean another example or another "
        "label: compare generations of one corpus"
    )


def test_a_spoilt_shard_of_either_generation_is_named(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    for number in range(2):
        publish_generation(workspace, number, table_of({(0, 1, 3): 0.5}))
    key = generations(workspace).read(1).parts_of("triplets")[0].key
    workspace.store.put(key, b"spoilt")
    for old, new in ((0, 1), (1, 0)):
        with pytest.raises(CorruptDataError, match=key):
            diff_generations(open_generation(workspace, old), open_generation(workspace, new))


def test_the_command_says_what_changed_in_both_forms(workspace: Workspace, triplets: RunTriplets) -> None:
    where = ("--workspace", workspace.store.uri)
    found = diff_generations(open_generation(workspace, 2), open_generation(workspace, 3))
    report = triplets("diff", 2, 3, "--json", "--number", 3, *where).report
    assert counts_of(found).items() <= report.items()
    assert report["old_d_an"] == found.old_d_an and report["changed_share"] == found.changed_share
    assert report["num_labels"] == len(LABELS)
    assert [one["label"] for one in report["labels"]] == [one.label for one in found.labels[:3]]
    shown = triplets("diff", 2, 3, *where)
    assert shown.code == 0
    assert f"generation 2 -> 3: {found.changed_share:.1%} of {found.num_pairs} pairs" in shown.out
    assert f"nearer for {found.num_nearer}, farther for {found.num_farther}" in shown.out
    for label in LABELS:
        assert label in shown.out


def test_the_command_has_no_figures_for_what_is_not_there(workspace: Workspace, triplets: RunTriplets) -> None:
    where = ("--workspace", workspace.store.uri)
    report = triplets("diff", 4, 4, "--json", *where).report
    assert report["old_d_an"] is report["new_d_an"] is None and report["labels"] == []
    shown = triplets("diff", 4, 4, *where)
    assert shown.code == 0 and "0.0% of 0 pairs" in shown.out and "nearest negative" not in shown.out


def test_a_label_is_shown_as_text(tmp_path: Path, triplets: RunTriplets) -> None:
    workspace = prepared(tmp_path, [MARKUP, "b"])
    for number in range(2):
        publish_generation(workspace, number, table_of({(0, 1, 3): 0.5}))
    shown = triplets("diff", 0, 1, "--workspace", workspace.store.uri).out
    assert "[bold]Zoë[/bold] \\x1b[31m" in shown and "\x1b" not in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((0, 9), "run 'main' has no generation 9: choose one of [0, 1, 2, 3, 4]"),
        ((9, 0), "run 'main' has no generation 9: choose one of [0, 1, 2, 3, 4]"),
        ((0,), "NEW"),
        ((0, "x"), "'x'"),
        ((0, 1, "--number", 0), "'0' is no whole number from 1 on"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    workspace: Workspace, triplets: RunTriplets, flags: tuple[object, ...], words: str
) -> None:
    triplets("diff", *flags, "--workspace", workspace.store.uri).assert_refused(words)
