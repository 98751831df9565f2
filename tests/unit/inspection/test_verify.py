import argparse
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
from pipeline.errors import CorruptDataError, InputError, PipelineError
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
from tests.support.s3_server import S3Server
from tests.unit.inspection.mined_samples import (
    KEY,
    Columns,
    all_triplets,
    mined,
    prepared,
    publish,
    rewrite,
    run_config,
    tampered,
    with_manifest,
)

BANDS: list[dict[str, Any]] = [
    {"mode": "hard"},
    {"mode": "semi_hard", "margin": 0.3},
    {"mode": "positive_aware", "ratio": 1.02, "offset": 0.01},
    {"mode": "range", "low": 1.0, "high": 2.5},
]


def refused(call: Callable[[], object], kind: type[PipelineError] = CorruptDataError) -> str:
    with pytest.raises(kind) as error:
        call()
    assert type(error.value) is kind
    return str(error.value)


@pytest.mark.parametrize("num_distances", [None, 20, 10_000])
@pytest.mark.parametrize("band", BANDS, ids=lambda band: band["mode"])
def test_what_was_mined_holds(tmp_path: Path, band: dict[str, Any], num_distances: int | None) -> None:
    generation = mined(str(tmp_path / "w"), tmp_path, band=band)
    report, num = verify_generation(generation, num_distances, seed=0), generation.manifest.num_triplets
    num_checked = num if num_distances is None else min(num, num_distances)
    expected = {name: num_checked if name.endswith("as_defined") else num for name in PROBLEMS}
    num_shards = generation.reader.num_shards
    assert report["checked"] == expected | {
        "shard_has_rows_promised": num_shards,
        "shard_sorted_by_anchor": num_shards,
    }
    assert report["distances"] == {"num_triplets": num_checked, "largest_difference": 0.0, "tolerance": 1e-6}
    assert "computed again" in str(format_check(report)[1])


def test_half_precision_embeddings_are_compared_as_they_are_stored(tmp_path: Path) -> None:
    report = verify_generation(mined(str(tmp_path / "w"), tmp_path, dtype="float16"), None, seed=0)
    assert report["distances"]["largest_difference"] == 0.0


def test_a_generation_of_no_triplets_holds(tmp_path: Path) -> None:
    workspace, corpus = prepared(str(tmp_path / "w"), tmp_path)
    report = verify_generation(publish(workspace, corpus, TRIPLETS.empty_table(), 10), 100, seed=0)
    assert report["num_triplets"] == 0 and set(report["checked"].values()) == {0, 1}


def break_label(rows: Columns, generation: OpenGeneration) -> None:
    """A positive of another label, farther along the ids; its distance is no longer d_ap."""
    labels = generation.corpus.labels
    train = np.flatnonzero(~generation.corpus.is_test)
    rows["positive"][3] = train[labels[train] != labels[rows["anchor"][3]]][0]


def break_negative(rows: Columns, _: OpenGeneration) -> None:
    rows["negative"][2:4] = rows["positive"][2:4]


def break_d_an(rows: Columns, _: OpenGeneration) -> None:
    """Moved by 1e-3 towards the middle of the band."""
    middle = rows["d_ap"][4] + 0.15
    rows["d_an"][4] += 1e-3 * np.sign(middle - rows["d_an"][4])


def break_d_ap(rows: Columns, _: OpenGeneration) -> None:
    rows["d_ap"][4] -= 2e-6


def break_band(rows: Columns, _: OpenGeneration) -> None:
    rows["d_an"][4] = rows["d_ap"][4]


def break_id(rows: Columns, generation: OpenGeneration) -> None:
    rows["negative"][1] = generation.corpus.num_examples


def break_role(rows: Columns, generation: OpenGeneration) -> None:
    rows["negative"][5] = np.flatnonzero(generation.corpus.is_test)[0]


def break_positive(rows: Columns, _: OpenGeneration) -> None:
    rows["positive"][6] = rows["anchor"][6]


def break_number(rows: Columns, _: OpenGeneration) -> None:
    rows["d_ap"][0] = np.nan


def break_sign(rows: Columns, _: OpenGeneration) -> None:
    rows["d_ap"][0], rows["d_an"][0] = -0.2, -0.1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (break_label, {"positive_has_label": 1, "d_ap_as_defined": 1}),
        (break_negative, {"negative_has_other_label": 2, "d_an_as_defined": 2}),
        (break_d_an, {"d_an_as_defined": 1}),
        (break_d_ap, {"d_ap_as_defined": 1}),
        (break_band, {"in_band": 1, "d_an_as_defined": 1}),
        (break_id, {"ids_in_corpus": 1}),
        (break_role, {"no_test_example": 1, "d_an_as_defined": 1}),
        (break_positive, {"anchor_is_not_positive": 1, "d_ap_as_defined": 1}),
        (break_number, {"distances_are_numbers": 1, "in_band": 1, "d_ap_as_defined": 1}),
        (break_sign, {"distances_are_numbers": 1, "d_ap_as_defined": 1, "d_an_as_defined": 1}),
    ],
    ids=lambda value: value.__name__.removeprefix("break_") if callable(value) else "",
)
@pytest.mark.parametrize("num_distances", [None, 10_000])
def test_a_change_that_the_digest_hides_breaks_its_predicates_and_no_others(
    tmp_path: Path,
    change: Callable[[Columns, OpenGeneration], None],
    expected: dict[str, int],
    num_distances: int | None,
) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path, band={"margin": 0.3})
    generation = tampered(sound, lambda rows: change(rows, sound), shard=1)
    table = all_triplets(generation)
    # The manifest counts a triplet at d_an <= d_ap as hard; that is another finding, of the whole.
    message = refused(lambda: verify_generation(generation, num_distances, seed=0))
    for name, words in PROBLEMS.items():
        found = f" of {len(table):,} triplets {words} (the first: row "
        assert (f"{expected[name]}{found}" in message) if name in expected else (found not in message), name
    assert "of shard 1: anchor " in message and message.count("\n") == 0


def test_the_sentence_says_which_how_many_the_first_and_what_to_do(tmp_path: Path) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path, band={"margin": 0.3})
    row = all_triplets(sound).iloc[33]  # the second of shard 1

    def spoil(rows: Columns) -> None:
        rows["negative"][[1, 7]] = 48, -2
        rows["positive"][4] = rows["anchor"][4]

    generation = tampered(tampered(sound, spoil, shard=1), lambda rows: break_d_an(rows, sound), shard=0)
    first = all_triplets(generation).iloc[4]
    spoilt = all_triplets(generation).iloc[36]
    num = generation.manifest.num_triplets

    def words(number: int, shard: int, of: "pd.Series[float]", negative: float) -> str:
        return (
            f"row {number} of shard {shard}: anchor {of.anchor:.0f}, positive {of.positive:.0f}, negative "
            f"{negative:.0f}, d_ap {of.d_ap:.7g}, d_an {of.d_an:.7g}"
        )

    assert refused(lambda: verify_generation(generation, None, seed=0)) == (
        f"generation 0 in {tmp_path / 'w'} does not hold: "
        f"2 of {num} triplets name an example that is not in the corpus (the first: {words(1, 1, row, 48)}); "
        f"1 of {num} triplets have their anchor as positive (the first: {words(4, 1, spoilt, spoilt.negative)}); "
        f"1 of {num} triplets have another d_ap than the stored embeddings (the first: "
        f"{words(4, 1, spoilt, spoilt.negative)}); "
        f"1 of {num} triplets have another d_an than the stored embeddings (the first: "
        f"{words(4, 0, first, first.negative)}): "
        "do not train on it; restore it from a copy, or remove 'runs/main/generations/manifests/000000000.json' and "
        "run jobs.mine again"
    )


def test_an_example_that_the_quarantine_excludes_has_no_role_but_one_that_is_reported_may(tmp_path: Path) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path)
    table = all_triplets(sound)
    hub = int(table.negative.mode()[0])
    num = int(((table.anchor == hub) | (table.positive == hub) | (table.negative == hub)).sum())
    part = sound.manifest.parts_of("quarantine")[0]

    def quarantined(*rows: pa.Table) -> OpenGeneration:
        return rewrite(sound, part.key, serialise(pa.concat_tables(rows), None), num_rows=sum(map(len, rows)))

    reported = quarantine_rows("label_noise_suspect", np.array([hub]), excluded=False)
    assert verify_generation(quarantined(reported), 10, seed=0)["checked"]["no_excluded_example"] == len(table)
    excluded = quarantine_rows("label_noise_suspect", np.array([hub]), excluded=True)
    message = refused(lambda: verify_generation(quarantined(excluded), 10, seed=0))
    assert f"{num} of {len(table)} triplets hold an example that the quarantine excludes (the first: row " in message


@pytest.mark.parametrize(
    ("reason", "both_ways"), [("near_duplicate_across_labels", True), ("false_negative_suspect", False)]
)
def test_a_pair_that_the_quarantine_excludes_is_in_no_triplet(tmp_path: Path, reason: str, both_ways: bool) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path)
    table = all_triplets(sound)
    anchor, negative = (np.array([table[name][0]]) for name in ("anchor", "negative"))
    num = int(((table.anchor == anchor[0]) & (table.negative == negative[0])).sum())
    part = sound.manifest.parts_of("quarantine")[0]

    def quarantined(examples: npt.NDArray[np.int64], others: npt.NDArray[np.int64], excluded: bool) -> OpenGeneration:
        rows = quarantine_rows(reason, examples, Evidence(others), excluded=excluded)
        return rewrite(sound, part.key, serialise(rows, None), num_rows=1)

    words = f"{num} of {len(table)} triplets have for their negative an example that the quarantine keeps"
    report = verify_generation(quarantined(anchor, negative, False), 10, seed=0)
    assert report["checked"]["no_excluded_pair"] == len(table)
    assert words in refused(lambda: verify_generation(quarantined(anchor, negative, True), 10, seed=0))
    turned = quarantined(negative, anchor, True)
    if both_ways:
        assert words in refused(lambda: verify_generation(turned, 10, seed=0))


def test_a_distance_outside_the_sample_is_found_with_all(tmp_path: Path) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path, band={"margin": 0.3})
    generation = tampered(sound, lambda rows: break_d_an(rows, sound))
    sampled = [sample_rows(generation.manifest.num_triplets, 40, seed, generation=0) for seed in range(10)]
    seeing, missing = ([seed for seed in range(10) if (4 in sampled[seed]) is sees] for sees in (True, False))
    assert verify_generation(generation, 40, missing[0])["distances"]["largest_difference"] == 0.0
    words = "triplets have another d_an than the stored embeddings (the first: row 4 of shard 0: "
    assert f"1 of 40 {words}" in refused(lambda: verify_generation(generation, 40, seeing[0]))
    num = generation.manifest.num_triplets
    assert f"1 of {num} {words}" in refused(lambda: verify_generation(generation, None, missing[0]))


def test_shards_are_held_to_the_manifest(tmp_path: Path) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path)
    num, kinds = sound.manifest.num_triplets, sound.manifest.kinds
    part = sound.manifest.parts_of("triplets")[1]
    shorter = serialise(sound.reader.shard(1).slice(5), None)
    message = refused(lambda: verify_generation(rewrite(sound, part.key, shorter), 10, seed=0))
    assert f"its shards hold {num - 5} triplets where the manifest promises {num}; " in message
    assert f"its shards hold {num - 5} semi_hard triplets where the manifest promises {kinds['semi_hard']}; " in message
    num_shards = sound.reader.num_shards
    assert (
        f"1 of {num_shards} shards hold another number of rows than the manifest promises (the first: shard 1)"
    ) in message


def test_shards_are_sorted_by_anchor_each_and_in_order(tmp_path: Path) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path)
    parts = sound.manifest.parts_of("triplets")
    words = f"1 of {len(parts)} shards are not sorted by anchor (the first: shard 1)"

    def swap(rows: Columns) -> None:
        for column in rows.values():
            column[[0, -1]] = column[[-1, 0]]

    assert words in refused(lambda: verify_generation(tampered(sound, swap, shard=1), 10, seed=0))


def test_shards_in_another_order_are_not_sorted(tmp_path: Path) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path)
    first, second, *rest = sound.manifest.parts
    message = refused(lambda: verify_generation(with_manifest(sound, parts=(second, first, *rest)), 10, seed=0))
    assert "shards are not sorted by anchor (the first: shard 1)" in message


@pytest.mark.parametrize("role", ["triplets", "quarantine", "neighbours"])
def test_what_is_no_table_of_its_schema_is_named(tmp_path: Path, role: str) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path)
    part = sound.manifest.parts_of(role)[-1]
    name = f"shard {sound.reader.num_shards - 1}" if role == "triplets" else f"the part {role!r}"
    message = refused(lambda: verify_generation(rewrite(sound, part.key, b"PAR1 but not Parquet"), 10, seed=0))
    assert f"does not hold: {name} is no Parquet file that can be read (" in message
    other = serialise(pa.table({"anchor": [1], "extra": ["x"]}), None)
    message = refused(lambda: verify_generation(rewrite(sound, part.key, other), 10, seed=0))
    assert f"does not hold: {name} has other columns than it should (anchor int64, extra string)" in message


def test_a_truncated_a_flipped_and_a_missing_part_are_each_one_clear_sentence(tmp_path: Path) -> None:
    generation = mined(str(tmp_path / "w"), tmp_path)
    store, part = generation.workspace.store, generation.manifest.parts_of("triplets")[1]
    data, where = store.get(part.key), f"part {part.key!r} in {tmp_path / 'w'}"
    manifest = generations(generation.workspace).manifest_key(0)
    advice = f"restore it, or remove {manifest!r} and run the job that published it again"
    store.put(part.key, data[:-7])
    size = f"{where} has {len(data) - 7} bytes instead of {len(data)}: {advice}"
    assert refused(lambda: verify_generation(generation, 10, seed=0)) == size
    store.put(part.key, data[:100] + bytes([data[100] ^ 1]) + data[101:])
    digest = f"{where} does not have the SHA-256 that its manifest records: {advice}"
    assert refused(lambda: verify_generation(generation, 10, seed=0)) == digest
    store.delete(part.key)
    missing = f"{where} is missing although its manifest names it: {advice}"
    assert refused(lambda: verify_generation(generation, 10, seed=0)) == missing


def test_a_generation_that_is_collected_while_it_is_read_was_removed(tmp_path: Path) -> None:
    generation = mined(str(tmp_path / "w"), tmp_path)
    store = generation.workspace.store
    store.delete(generations(generation.workspace).manifest_key(0))
    store.delete(generation.manifest.parts_of("triplets")[-1].key)
    assert refused(lambda: verify_generation(generation, 10, seed=0), InputError) == (
        f"number 0 of 'runs/main/generations' in {tmp_path / 'w'} was removed while it was read: choose one of []"
    )


def test_without_embeddings_distances_are_said_to_be_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generation = mined(str(tmp_path / "w"), tmp_path)
    for part in (1, 3):
        generation.workspace.store.delete(f"embeddings/{KEY}/{part:06d}.parquet")
    report = verify_generation(generation, 10, seed=0)
    why = (
        f"2 of 5 parts of the embeddings {KEY} are not stored any more (jobs.mine makes those of the newest checkpoint "
        "only)"
    )
    assert (report["distances"], report["distances_unchecked"]) == (None, why)
    assert f"warning: the distances of generation 0 are not checked: {why}" in capsys.readouterr().err
    assert format_check(report)[1] == f"distances were not checked: {why}"
    assert report["checked"]["in_band"] == generation.manifest.num_triplets
    assert refused(lambda: verify_generation(generation, None, seed=0), InputError) == (
        f"the distances of generation 0 cannot all be computed again: {why}; verify without --all checks the rest"
    )


def test_without_embeddings_everything_else_is_checked(tmp_path: Path) -> None:
    sound = mined(str(tmp_path / "w"), tmp_path)
    sound.workspace.store.delete(f"embeddings/{KEY}/000000.parquet")
    message = refused(lambda: verify_generation(tampered(sound, lambda rows: break_band(rows, sound)), 10, seed=0))
    assert "triplets have their negative outside the band" in message


def test_distances_between_vectors_of_two_encoders_are_said_to_be_unchecked(tmp_path: Path) -> None:
    report = verify_generation(with_manifest(mined(str(tmp_path / "w"), tmp_path), old_share=0.25), 10, seed=0)
    assert report["distances"] is None
    assert report["distances_unchecked"] == "a share of 0.25 of the examples stood with vectors of an older encoder"


def test_a_damaged_embedding_is_named(tmp_path: Path) -> None:
    generation = mined(str(tmp_path / "w"), tmp_path)
    generation.workspace.store.put(f"embeddings/{KEY}/000002.parquet", b"x")
    message = refused(lambda: verify_generation(generation, None, seed=0))
    assert f"embedding part embeddings/{KEY}/000002.parquet in" in message


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
    flags = argparse.ArgumentParser()
    command.add_flags(flags)
    answer = command.run(run_config(generation.workspace, tmp_path), flags.parse_args(["--all"]))
    assert answer.report["distances"]["num_triplets"] == generation.manifest.num_triplets
    tampered(generation, lambda rows: break_id(rows, generation), shard=2)
    again = open_generation(Workspace.open(uri, "main"))
    assert f"generation 0 in {uri} does not hold: 1 of " in refused(lambda: verify_generation(again, 10, seed=0))
