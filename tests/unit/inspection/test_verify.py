import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.triplet_commands import verify as command
from pipeline.config import BandConfig
from pipeline.corpus.reader import Corpus
from pipeline.errors import CorruptDataError, InputError
from pipeline.inspection.generation import OpenGeneration, open_generation
from pipeline.inspection.query.predicates import PROBLEMS, in_band
from pipeline.inspection.sampling import sample_rows
from pipeline.inspection.verify.check import format_check, verify_generation
from pipeline.mining.band import band_bounds
from pipeline.storage.workspace import Workspace
from pipeline.triplets.quarantine import Evidence, quarantine_rows
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import TRIPLETS
from pipeline.triplets.writer import serialise
from tests.support.refusals import refusal
from tests.support.s3_server import S3Server
from tests.unit.inspection.answers import answer_of
from tests.unit.inspection.mined_samples import (
    KEY,
    Columns,
    all_triplets,
    mined,
    rewrite,
    run_config,
    tampered,
    with_manifest,
)
from tests.unit.inspection.report_samples import prepared, publish_generation

BANDS: list[dict[str, Any]] = [
    {"mode": "hard"},
    {"mode": "semi_hard", "margin": 0.3},
    {"mode": "positive_aware", "ratio": 1.02, "offset": 0.01},
    {"mode": "range", "low": 1.0, "high": 2.5},
]


def verdict(
    generation: OpenGeneration,
    num_distances: int | None = 10,
    kind: type[Exception] = CorruptDataError,
    seed: int = 0,
) -> str:
    return refusal(lambda: verify_generation(generation, num_distances, seed), kind)


def of_other_label(rows: Columns, corpus: Corpus) -> int:
    """An example farther along the ids."""
    train = np.flatnonzero(~corpus.is_test)
    return int(train[corpus.labels[train] != corpus.labels[rows["anchor"][3]]][0])


def nearer_the_middle(rows: Columns, _: Corpus) -> float:
    """Of the band, by 1e-3."""
    d_ap, d_an = (float(rows[name][4]) for name in ("d_ap", "d_an"))
    return d_an + 1e-3 * float(np.sign(d_ap + 0.1 - d_an))


CHANGES: dict[str, tuple[str, int, Callable[[Columns, Corpus], float], set[str]]] = {
    "label": ("positive", 3, of_other_label, {"positive_has_label", "d_ap_as_defined"}),
    "negative": ("negative", 2, lambda rows, _: rows["positive"][2], {"negative_has_other_label", "d_an_as_defined"}),
    "d_an": ("d_an", 4, nearer_the_middle, {"d_an_as_defined"}),
    "d_ap": ("d_ap", 4, lambda rows, _: rows["d_ap"][4] - 2e-6, {"d_ap_as_defined"}),
    "band": ("d_an", 4, lambda rows, _: rows["d_ap"][4], {"in_band", "d_an_as_defined"}),
    "id": ("negative", 1, lambda _, corpus: corpus.num_examples, {"ids_in_corpus"}),
    "role": ("negative", 5, lambda _, corpus: int(corpus.is_test.argmax()), {"no_test_example", "d_an_as_defined"}),
    "positive": ("positive", 6, lambda rows, _: rows["anchor"][6], {"anchor_is_not_positive", "d_ap_as_defined"}),
    "number": ("d_ap", 0, lambda *_: np.nan, {"distances_are_numbers", "in_band", "d_ap_as_defined"}),
    "sign": ("d_an", 0, lambda *_: -0.1, {"distances_are_numbers", "in_band", "d_an_as_defined"}),
}
"""Column, row and new value of one number, and the predicates that it breaks."""


def changed(generation: OpenGeneration, name: str, shard: int = 0) -> OpenGeneration:
    """A generation after one of CHANGES, and its manifest's digest with it."""
    column, row, value, _ = CHANGES[name]

    def change(rows: Columns) -> None:
        rows[column][row] = value(rows, generation.corpus)

    return tampered(generation, change, shard)


@pytest.mark.parametrize("band", BANDS, ids=lambda band: band["mode"])
def test_what_was_mined_holds(tmp_path: Path, band: dict[str, Any]) -> None:
    generation = mined(str(tmp_path / "w"), tmp_path, band=band)
    num, num_shards = generation.manifest.num_triplets, generation.reader.num_shards
    for num_distances in (None, 20, 10_000):
        report = verify_generation(generation, num_distances, seed=0)
        num_checked = num if num_distances is None else min(num, num_distances)
        expected = {name: num_checked if name.endswith("as_defined") else num for name in PROBLEMS}
        of_shards = {"shard_has_rows_promised": num_shards, "shard_sorted_by_anchor": num_shards}
        assert report["checked"] == expected | of_shards
        assert report["distances"] == {"num_triplets": num_checked, "largest_difference": 0.0, "tolerance": 1e-6}
        assert "computed again" in str(format_check(report)[1])


def test_half_precision_embeddings_are_compared_as_they_are_stored(tmp_path: Path) -> None:
    report = verify_generation(mined(str(tmp_path / "w"), tmp_path, dtype="float16"), None, seed=0)
    assert report["distances"]["largest_difference"] == 0.0


def test_a_generation_of_no_triplets_holds(tmp_path: Path) -> None:
    report = verify_generation(publish_generation(prepared(tmp_path), 0, TRIPLETS.empty_table()), 100, seed=0)
    assert report["num_triplets"] == 0 and set(report["checked"].values()) == {0, 1}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_the_digest_hides_breaks_its_predicates_and_no_others(sound: OpenGeneration, name: str) -> None:
    generation = changed(sound, name, shard=1)
    for num_distances in (None, 10_000):
        message = verdict(generation, num_distances)
        for predicate, words in PROBLEMS.items():
            found = f" of {sound.manifest.num_triplets:,} triplets {words} (the first: row "
            broken = predicate in CHANGES[name][3]
            assert (f"1{found}" in message) if broken else (found not in message), predicate
        assert "of shard 1: anchor " in message


def test_the_sentence_says_which_how_many_the_first_and_what_to_do(sound: OpenGeneration) -> None:
    row = all_triplets(sound).iloc[33]  # the second of shard 1

    def spoil(rows: Columns) -> None:
        rows["negative"][[1, 7]] = 48, -2
        rows["positive"][4] = rows["anchor"][4]

    generation = changed(tampered(sound, spoil, shard=1), "d_an")
    first, spoilt = (all_triplets(generation).iloc[number] for number in (4, 36))
    num = generation.manifest.num_triplets

    def words(number: int, shard: int, of: "pd.Series[float]", negative: float) -> str:
        return (
            f"row {number} of shard {shard}: anchor {of.anchor:.0f}, positive {of.positive:.0f}, negative "
            f"{negative:.0f}, d_ap {of.d_ap:.7g}, d_an {of.d_an:.7g}"
        )

    assert verdict(generation, None) == (
        f"generation 0 in {sound.workspace.store.uri} does not hold: "
        f"2 of {num} triplets name an example that is not in the corpus (the first: {words(1, 1, row, 48)}); "
        f"1 of {num} triplets have their anchor as positive (the first: {words(4, 1, spoilt, spoilt.negative)}); "
        f"1 of {num} triplets have another d_ap than the stored embeddings (the first: "
        f"{words(4, 1, spoilt, spoilt.negative)}); "
        f"1 of {num} triplets have another d_an than the stored embeddings (the first: "
        f"{words(4, 0, first, first.negative)}): "
        "do not train on it; restore it from a copy, or remove 'runs/main/generations/manifests/000000000.json' and "
        "run jobs.mine again"
    )


def quarantined(sound: OpenGeneration, rows: pa.Table) -> OpenGeneration:
    part = sound.manifest.parts_of("quarantine")[0]
    return rewrite(sound, part.key, serialise(rows, None), num_rows=len(rows))


def test_an_example_that_the_quarantine_excludes_has_no_role_but_one_that_is_reported_may(
    sound: OpenGeneration,
) -> None:
    table = all_triplets(sound)
    hub = int(table.negative.mode()[0])
    num = int(((table.anchor == hub) | (table.positive == hub) | (table.negative == hub)).sum())
    reported, excluded = (
        quarantine_rows("label_noise_suspect", np.array([hub]), excluded=is_excluded) for is_excluded in (False, True)
    )
    report = verify_generation(quarantined(sound, reported), 10, seed=0)
    assert report["checked"]["no_excluded_example"] == len(table)
    words = f"{num} of {len(table)} triplets hold an example that the quarantine excludes (the first: row "
    assert words in verdict(quarantined(sound, excluded))


@pytest.mark.parametrize(
    ("reason", "both_ways"), [("near_duplicate_across_labels", True), ("false_negative_suspect", False)]
)
def test_a_pair_that_the_quarantine_excludes_is_in_no_triplet(
    sound: OpenGeneration, reason: str, both_ways: bool
) -> None:
    table = all_triplets(sound)
    anchor, negative = (np.array([table[name][0]]) for name in ("anchor", "negative"))
    num = int(((table.anchor == anchor[0]) & (table.negative == negative[0])).sum())

    def paired(examples: npt.NDArray[np.int64], others: npt.NDArray[np.int64], excluded: bool) -> OpenGeneration:
        return quarantined(sound, quarantine_rows(reason, examples, Evidence(others), excluded=excluded))

    words = f"{num} of {len(table)} triplets have for their negative an example that the quarantine keeps"
    report = verify_generation(paired(anchor, negative, False), 10, seed=0)
    assert report["checked"]["no_excluded_pair"] == len(table)
    assert words in verdict(paired(anchor, negative, True))
    if both_ways:
        assert words in verdict(paired(negative, anchor, True))


def test_a_distance_outside_the_sample_is_found_with_all(sound: OpenGeneration) -> None:
    generation, num = changed(sound, "d_an"), sound.manifest.num_triplets
    sampled = [sample_rows(num, 40, seed, generation=0) for seed in range(10)]
    seeing, missing = ([seed for seed in range(10) if (4 in sampled[seed]) is sees] for sees in (True, False))
    assert verify_generation(generation, 40, missing[0])["distances"]["largest_difference"] == 0.0
    words = "triplets have another d_an than the stored embeddings (the first: row 4 of shard 0: "
    assert f"1 of 40 {words}" in verdict(generation, 40, seed=seeing[0])
    assert f"1 of {num} {words}" in verdict(generation, None, seed=missing[0])


def test_shards_are_held_to_the_manifest(sound: OpenGeneration) -> None:
    num, kinds = sound.manifest.num_triplets, sound.manifest.kinds
    part = sound.manifest.parts_of("triplets")[1]
    message = verdict(rewrite(sound, part.key, serialise(sound.reader.shard(1).slice(5), None)))
    assert f"its shards hold {num - 5} triplets where the manifest promises {num}; " in message
    assert f"its shards hold {num - 5} semi_hard triplets where the manifest promises {kinds['semi_hard']}; " in message
    words = "shards hold another number of rows than the manifest promises (the first: shard 1)"
    assert f"1 of {sound.reader.num_shards} {words}" in message


def test_shards_are_sorted_by_anchor_each_and_in_order(sound: OpenGeneration) -> None:
    words = "shards are not sorted by anchor (the first: shard 1)"
    first, second, *rest = sound.manifest.parts
    assert words in verdict(with_manifest(sound, parts=(second, first, *rest)))

    def swap(rows: Columns) -> None:
        for column in rows.values():
            column[[0, -1]] = column[[-1, 0]]

    assert f"1 of {sound.reader.num_shards} {words}" in verdict(tampered(sound, swap, shard=1))


@pytest.mark.parametrize("role", ["triplets", "quarantine", "neighbours"])
def test_what_is_no_table_of_its_schema_is_named(sound: OpenGeneration, role: str) -> None:
    part = sound.manifest.parts_of(role)[-1]
    name = f"shard {sound.reader.num_shards - 1}" if role == "triplets" else f"the part {role!r}"
    message = verdict(rewrite(sound, part.key, b"PAR1 but not Parquet"))
    assert f"does not hold: {name} is no Parquet file that can be read (" in message
    other = serialise(pa.table({"anchor": [1], "extra": ["x"]}), None)
    message = verdict(rewrite(sound, part.key, other))
    assert f"does not hold: {name} has other columns than it should (anchor int64, extra string)" in message


def test_a_truncated_a_flipped_and_a_missing_part_are_each_one_clear_sentence(sound: OpenGeneration) -> None:
    store, part = sound.workspace.store, sound.manifest.parts_of("triplets")[1]
    data, where = store.get(part.key), f"part {part.key!r} in {store.uri}"
    manifest = generations(sound.workspace).manifest_key(0)
    advice = f"restore it, or remove {manifest!r} and run the job that published it again"
    store.put(part.key, data[:-7])
    assert verdict(sound) == f"{where} has {len(data) - 7} bytes instead of {len(data)}: {advice}"
    store.put(part.key, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert verdict(sound) == f"{where} does not have the SHA-256 that its manifest records: {advice}"
    store.delete(part.key)
    assert verdict(sound) == f"{where} is missing although its manifest names it: {advice}"


def test_a_generation_that_is_collected_while_it_is_read_was_removed(sound: OpenGeneration) -> None:
    store = sound.workspace.store
    store.delete(generations(sound.workspace).manifest_key(0))
    store.delete(sound.manifest.parts_of("triplets")[-1].key)
    assert verdict(sound, kind=InputError) == (
        f"number 0 of 'runs/main/generations' in {store.uri} was removed while it was read: choose one of []"
    )


def test_without_embeddings_distances_are_said_to_be_unchecked(
    sound: OpenGeneration, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in (1, 3):
        sound.workspace.store.delete(f"embeddings/{KEY}/{part:06d}.parquet")
    report = verify_generation(sound, 10, seed=0)
    why = (
        f"2 of 5 parts of the embeddings {KEY} are not stored any more (jobs.mine makes those of the newest checkpoint "
        "only)"
    )
    assert (report["distances"], report["distances_unchecked"]) == (None, why)
    assert f"warning: the distances of generation 0 are not checked: {why}" in capsys.readouterr().err
    assert format_check(report)[1] == f"distances were not checked: {why}"
    assert report["checked"]["in_band"] == sound.manifest.num_triplets
    assert verdict(sound, None, InputError) == (
        f"the distances of generation 0 cannot all be computed again: {why}; verify without --all checks the rest"
    )


def test_without_embeddings_everything_else_is_checked(sound: OpenGeneration) -> None:
    sound.workspace.store.delete(f"embeddings/{KEY}/000000.parquet")
    assert "triplets have their negative outside the band" in verdict(changed(sound, "band"))


def test_distances_between_vectors_of_two_encoders_are_said_to_be_unchecked(sound: OpenGeneration) -> None:
    report = verify_generation(with_manifest(sound, old_share=0.25), 10, seed=0)
    assert report["distances"] is None
    assert report["distances_unchecked"] == "a share of 0.25 of the examples stood with vectors of an older encoder"


def test_a_damaged_embedding_is_named(sound: OpenGeneration) -> None:
    sound.workspace.store.put(f"embeddings/{KEY}/000002.parquet", b"x")
    assert f"embedding part embeddings/{KEY}/000002.parquet in" in verdict(sound, None)


@given(
    d_ap=st.floats(1e-6, 4.0),
    band=st.sampled_from([BandConfig(**band) for band in BANDS]),
    steps=st.integers(1, 3),
    at_lower=st.booleans(),
)
def test_what_the_unrounded_d_ap_allows_is_in_band(d_ap: float, band: BandConfig, steps: int, at_lower: bool) -> None:
    """Mining takes the band from the float64 d_ap; published are float32 numbers."""
    lower, upper = (bound[0] for bound in band_bounds(band, np.array([d_ap])))
    d_an, towards = (lower, np.inf) if at_lower else (upper, -np.inf)
    for _ in range(steps):
        d_an = np.nextafter(d_an, np.float32(towards))
    if math.isfinite(d_an) and lower < d_an < upper:
        assert in_band(band, np.array([d_ap], np.float32), np.array([d_an], np.float32)).all()


@given(d_ap=st.floats(0.0, 2.0, width=32), margin=st.floats(0.1, 1.0))
def test_a_negative_at_the_edge_of_the_semi_hard_band_is_outside(d_ap: float, margin: float) -> None:
    band = BandConfig(mode="semi_hard", margin=margin)
    d_ap_T = np.array([d_ap], dtype=np.float32)
    beyond = np.nextafter((d_ap_T.astype(np.float64) + margin).astype(np.float32), np.float32(np.inf))
    for d_an in (d_ap_T, np.nextafter(d_ap_T, np.float32(-np.inf)), beyond):
        assert not in_band(band, d_ap_T, d_an).any()


def test_a_generation_on_s3_is_verified_like_one_in_a_folder(tmp_path: Path, s3_environment: S3Server) -> None:
    uri = f"s3://{s3_environment.bucket}/verification"
    generation = mined(uri, tmp_path)
    answer = answer_of(command, run_config(generation.workspace, tmp_path), "--all")
    assert answer.report["distances"]["num_triplets"] == generation.manifest.num_triplets
    changed(generation, "id", shard=2)
    again = open_generation(Workspace.open(uri, "main"))
    assert f"generation 0 in {uri} does not hold: 1 of " in verdict(again)
