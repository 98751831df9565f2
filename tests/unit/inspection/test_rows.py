"""Triplets are chosen and ordered as a filter and a sort over all rows would, and shown as text."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import BandConfig, MiningConfig
from pipeline.corpus.reader import Corpus
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.rows import ORDERS, ROLES, Kind, Order, TripletQuery, TripletRow, select_rows
from pipeline.inspection.query.sql import SqlSession
from pipeline.mining.triplets import Triplets
from pipeline.storage.workspace import Workspace
from pipeline.triplets.schema import TRIPLETS, to_arrow
from tests.support.refusals import refusal
from tests.unit.corpus.samples import run_prepare
from tests.unit.inspection.command_line import RunTriplets
from tests.unit.inspection.mined_samples import all_triplets
from tests.unit.inspection.report_samples import PER_LABEL, SCRIPT, prepared, publish_generation, vector_corpus

MARKUP = "[b]Ada[/b] [link=x]l[/link] [/] :smile:"
CONTROL = "Zoë\x1b[31m\x07\u202etxt"
LABELS = (MARKUP, CONTROL, SCRIPT, "plain")
BAND_MARGIN = 0.25
NUM_TRIPLETS = 150

Filter = Callable[[TripletRow], bool]


def coarse(corpus: Corpus, num: int = NUM_TRIPLETS) -> pa.Table:
    """Different triplets whose distances are multiples of 1/8: many margins are equal, some equal to the band's."""
    rng, labels, ids = np.random.default_rng(3), corpus.labels, np.arange(corpus.num_examples)
    every = [
        (anchor, positive, negative)
        for anchor in ids
        for positive in ids[(labels == labels[anchor]) & (ids != anchor)]
        for negative in ids[labels != labels[anchor]]
    ]
    chosen = np.array(every)[np.sort(rng.choice(len(every), num, replace=False))]
    d_ap, d_an = (rng.integers(1, 9, num).astype(np.float32) / np.float32(8) for _ in range(2))
    anchor, positive, negative = chosen.T
    return to_arrow(Triplets(anchor, positive, negative, d_ap, d_an))


def published(folder: Path, table: pa.Table | None = None) -> OpenGeneration:
    """In shards of 40."""
    workspace = prepared(folder, LABELS)
    found = coarse(Corpus.open(workspace)) if table is None else table
    mining = MiningConfig(band=BandConfig(margin=BAND_MARGIN))
    return publish_generation(workspace, 0, found, rows_per_shard=40, mining=mining)


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> OpenGeneration:
    """Read only."""
    made = published(tmp_path_factory.mktemp("run"))
    assert made.reader.num_shards > 2
    return made


@pytest.fixture(scope="module")
def rows(generation: OpenGeneration) -> list[TripletRow]:
    """All, by another way: with kinds and labels from their definitions."""
    corpus, found = generation.corpus, []
    for anchor, positive, negative, d_ap, d_an in all_triplets(generation).itertuples(index=False):
        kind = "hard" if d_an <= d_ap else "easy" if d_an >= d_ap + BAND_MARGIN else "semi_hard"
        names = [corpus.label_names[corpus.labels[example_id]] for example_id in (anchor, negative)]
        found.append(TripletRow(anchor, positive, negative, d_ap, d_an, kind, *names))
    return found


def ids(row: TripletRow) -> tuple[int, int, int]:
    return row.anchor, row.positive, row.negative


def by_digest(seed: int) -> Callable[[TripletRow], int]:
    """MD5 of seed and ids, as the little-endian number that DuckDB takes it for: stands for good, as seeds must."""

    def key(row: TripletRow) -> int:
        digest = hashlib.md5(" ".join(map(str, (seed, *ids(row)))).encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest, "little")

    return key


def oracle(rows: list[TripletRow], order: Order, seed: int = 0) -> list[TripletRow]:
    if order == "random":
        return sorted(rows, key=by_digest(seed))
    if order == "anchor":
        return sorted(rows, key=lambda row: (row.anchor, row.positive, row.d_an, row.negative))
    if order == "closest":
        return sorted(rows, key=lambda row: (row.d_an, *ids(row)))
    sign = {"hardest": 1, "easiest": -1}[order]
    return sorted(rows, key=lambda row: (sign * row.margin, *ids(row)))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("num", [1, 40, 10**6])
def test_an_order_is_that_of_a_sort_with_ties_by_id(
    generation: OpenGeneration, rows: list[TripletRow], order: Order, num: int
) -> None:
    found = select_rows(generation, TripletQuery(order, seed=5, limit=num))
    assert found == oracle(rows, order, seed=5)[:num]


def test_margins_tie_so_that_the_order_by_id_counts(rows: list[TripletRow]) -> None:
    assert max(Counter(row.margin for row in rows).values()) > 5
    assert {row.kind for row in rows if row.margin == BAND_MARGIN} == {"easy"}
    assert {row.kind for row in rows if row.margin == 0} == {"hard"}


def of_kind(kind: Kind) -> tuple[TripletQuery, Filter]:
    return TripletQuery(kind=kind), lambda row: row.kind == kind


def of_label(label: str) -> tuple[TripletQuery, Filter]:
    return TripletQuery(label=label), lambda row: row.label == label


FILTERS: dict[str, tuple[TripletQuery, Filter]] = {
    "hard": of_kind("hard"),
    "semi_hard": of_kind("semi_hard"),
    "easy": of_kind("easy"),
    "markup": of_label(MARKUP),
    "control": of_label(CONTROL),
    "script": of_label(SCRIPT),
    "anchor": (TripletQuery(anchor=3), lambda row: row.anchor == 3),
    "positive": (TripletQuery(positive=0), lambda row: row.positive == 0),
    "negative": (TripletQuery(negative=11), lambda row: row.negative == 11),
    "example": (TripletQuery(example=4), lambda row: 4 in ids(row)),
    "two": (TripletQuery(label=SCRIPT, kind="easy"), lambda row: row.label == SCRIPT and row.kind == "easy"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_is_that_of_every_row(generation: OpenGeneration, rows: list[TripletRow], name: str) -> None:
    query, keep = FILTERS[name]
    kept = list(filter(keep, rows))
    assert 0 < len(kept) < len(rows)
    assert select_rows(generation, query) == oracle(kept, "hardest")


def test_filters_and_a_random_order_go_together(generation: OpenGeneration, rows: list[TripletRow]) -> None:
    kept = [row for row in rows if row.label == CONTROL]
    query = TripletQuery("random", label=CONTROL, seed=2, limit=5)
    assert select_rows(generation, query) == oracle(kept, "random", seed=2)[:5]


def test_a_draw_is_the_same_for_a_seed_however_the_shards_are_cut(generation: OpenGeneration, tmp_path: Path) -> None:
    workspace = published(tmp_path).workspace
    again = publish_generation(workspace, 1, coarse(generation.corpus), rows_per_shard=7)
    assert again.reader.num_shards > 10
    query = TripletQuery("random", seed=1, limit=20)
    first = [ids(row) for row in select_rows(generation, query)]
    assert [ids(row) for row in select_rows(again, query)] == first
    assert [ids(row) for row in select_rows(generation, replace(query, seed=2))] != first


def test_a_draw_is_uniform(generation: OpenGeneration) -> None:
    num_draws, num = 200, 30
    with SqlSession.of(generation) as session:
        queries = (TripletQuery("random", seed=seed, limit=num) for seed in range(num_draws))
        drawings = [select_rows(generation, query, session) for query in queries]
    assert all(len({ids(row) for row in drawing}) == num for drawing in drawings)
    times = Counter(ids(row) for drawing in drawings for row in drawing)
    expected = num_draws * num / NUM_TRIPLETS
    variance = expected * (1 - num / NUM_TRIPLETS)  # without replacement
    statistic = sum((times[ids(row)] - expected) ** 2 for row in select_rows(generation, TripletQuery())) / variance
    assert abs(statistic - NUM_TRIPLETS) < 4 * np.sqrt(2 * NUM_TRIPLETS)  # chi-squared of as many degrees of freedom


def test_an_empty_generation_gives_no_rows(tmp_path: Path) -> None:
    generation = published(tmp_path, TRIPLETS.empty_table())
    for order in ORDERS:
        assert select_rows(generation, TripletQuery(order, label=MARKUP)) == []


UNKNOWN = [
    (TripletQuery(label="plian"), "corpus 0 has no label 'plian': did you mean 'plain'?"),
    (TripletQuery(label="Plain"), "corpus 0 has no label 'Plain': did you mean 'plain'?"),
    (TripletQuery(label="p"), "corpus 0 has no label 'p': did you mean 'plain'?"),
    (TripletQuery(label="zzz"), "corpus 0 has no label 'zzz'"),
    (TripletQuery(label="' OR true --"), 'corpus 0 has no label "\' OR true --"'),
    *(
        (TripletQuery(**{role: example}), f"corpus 0 has no example {example}: its ids are 0 to 11")  # type: ignore[arg-type]
        for role in (*ROLES, "example")
        for example in (-1, 12)
    ),
]


@pytest.mark.parametrize(("query", "words"), UNKNOWN)
def test_what_is_not_in_the_corpus_is_one_sentence(generation: OpenGeneration, query: TripletQuery, words: str) -> None:
    assert refusal(lambda: select_rows(generation, query)) == words


def test_show_gives_json_with_paths_and_everything_as_it_is(
    generation: OpenGeneration, rows: list[TripletRow], triplets: RunTriplets
) -> None:
    where = ("--workspace", generation.workspace.store.uri)
    report = triplets("show", "--json", "--number", 7, *where).report
    assert (report["generation"], report["num_triplets"], report["order"]) == (0, NUM_TRIPLETS, "hardest")
    expected = oracle(rows, "hardest")[:7]
    paths = generation.corpus.paths_of(range(12))
    for document, row in zip(report["rows"], expected, strict=True):
        assert document == {
            **{"anchor": row.anchor, "positive": row.positive, "negative": row.negative},
            **{"d_ap": row.d_ap, "d_an": row.d_an, "margin": row.margin, "kind": row.kind},
            **{"label": row.label, "negative_label": row.negative_label},
            **{f"{role}_path": paths[getattr(row, role)] for role in ROLES},
        }


def test_show_draws_by_the_seed_of_the_run(
    generation: OpenGeneration, rows: list[TripletRow], triplets: RunTriplets
) -> None:
    where = ("--workspace", generation.workspace.store.uri, "--json", "--order", "random")
    for seed in (0, 9):
        report = triplets("show", *where, "--seed", seed, "--number", 20).report
        found = [(one["anchor"], one["positive"], one["negative"]) for one in report["rows"]]
        assert found == [ids(row) for row in oracle(rows, "random", seed)[:20]]


def test_show_takes_every_filter(generation: OpenGeneration, rows: list[TripletRow], triplets: RunTriplets) -> None:
    row = oracle(rows, "hardest")[0]
    values = {"kind": row.kind, "label": row.label, **{role: getattr(row, role) for role in ROLES}}
    flags = [word for name, value in (values | {"example": row.negative}).items() for word in (f"--{name}", value)]
    report = triplets("show", "--json", *flags, "--workspace", generation.workspace.store.uri).report
    assert [(one["anchor"], one["positive"], one["negative"]) for one in report["rows"]] == [ids(row)]


@pytest.mark.parametrize(
    ("label", "text"), [(MARKUP, MARKUP), (CONTROL, "Zoë\\x1b[31m\\x07\\u202etxt"), (SCRIPT, SCRIPT)]
)
def test_labels_and_paths_are_shown_as_text(
    generation: OpenGeneration, triplets: RunTriplets, label: str, text: str
) -> None:
    anchor = PER_LABEL * LABELS.index(label)
    flags = ("--label", label, "--anchor", anchor, "--workspace", generation.workspace.store.uri)
    shown = triplets("show", *flags)
    assert shown.code == 0
    assert f"{anchor} {text} " in shown.out and f"{text}/" in shown.out
    assert all(char.isprintable() or char == "\n" for char in shown.out)


def test_of_vectors_the_own_id_stands_where_a_path_would(tmp_path: Path, triplets: RunTriplets) -> None:
    workspace = Workspace.open(str(tmp_path / "workspace"), "main")
    run_prepare(vector_corpus(tmp_path / "source"), workspace)
    publish_generation(workspace, 0, coarse(Corpus.open(workspace), 5))
    report = triplets("show", "--json", "--workspace", workspace.store.uri).report
    assert [one["anchor_path"] for one in report["rows"]] == [f"v{one['anchor']}" for one in report["rows"]]


def test_show_says_why_there_is_nothing(
    generation: OpenGeneration, sound: OpenGeneration, triplets: RunTriplets
) -> None:
    kinds = ", ".join(f"{num} {kind}" for kind, num in generation.manifest.kinds.items())
    ended = triplets("show", "--anchor", 0, "--negative", 0, "--workspace", generation.workspace.store.uri)
    assert ended.code == 0 and f"the generation holds {kinds}: choose less narrowly" in ended.out
    example = int(sound.corpus.is_test.argmax())
    label = sound.corpus.label_names[sound.corpus.labels[example]]
    for flags, what in ((("--label", label), f"label {label!r}"), (("--example", example), f"example {example}")):
        ended = triplets("show", *flags, "--workspace", sound.workspace.store.uri)
        assert ended.code == 0 and f"{what} is kept for evaluation: it is never mined" in ended.out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--label", "plian"), "has no label 'plian': did you mean 'plain'?"),
        (("--example", 12), "has no example 12: its ids are 0 to 11"),
        (("--order", "softest"), "'softest'"),
        (("--kind", "soft"), "'soft'"),
        (("--number", 0), "'0' is no whole number from 1 on"),
        (("--generation", 3), "run 'main' has no generation 3: choose one of [0]"),
        (("--anchor", "Ada"), "'Ada'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    generation: OpenGeneration, triplets: RunTriplets, flags: tuple[object, ...], words: str
) -> None:
    triplets("show", *flags, "--workspace", generation.workspace.store.uri).assert_refused(words)
