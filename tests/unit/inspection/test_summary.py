import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.cli import Answer
from jobs.triplet_commands import summary
from pipeline.config import BandConfig
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.sampling import sample_triplets
from pipeline.inspection.summary.summary import format_band, staleness_history, summarise
from pipeline.inspection.summary.view import format_summary
from pipeline.inspection.verify.rescoring import score_under_checkpoint
from pipeline.triplets.quarantine import quarantine_rows
from pipeline.triplets.schema import TRIPLETS
from tests.support.refusals import refusal
from tests.support.s3_server import READER_ACCESS_KEY, READER_SECRET_KEY, S3Server
from tests.unit.inspection.answers import answer_of, printed
from tests.unit.inspection.command_line import RunTriplets
from tests.unit.inspection.mined_samples import all_triplets, embedded, mined, run_config, save, with_manifest
from tests.unit.inspection.report_samples import prepared, publish_generation


def command(generation: OpenGeneration, folder: Path, *arguments: str) -> Answer:
    """Runs ``jobs.triplets summary``."""
    return answer_of(summary, run_config(generation.workspace, folder), *arguments)


def test_a_summary_says_what_pandas_finds_and_the_manifest_promises(sound: OpenGeneration) -> None:
    generation = with_manifest(sound, num_pairs=400, num_pairs_without_negative=100)
    report, table, corpus = summarise(generation, num_hubs=3), all_triplets(generation), generation.corpus
    by_anchor, train = table.groupby("anchor"), np.flatnonzero(~corpus.is_test)
    assert report["num_triplets"] == len(table) and sum(report["kinds"].values()) == len(table)
    assert report["band"] == {
        "words": "semi_hard: d_ap < d_an < d_ap + 0.2",
        "margin": 0.2,
        "num_pairs": 400,
        "num_pairs_answered": 300,
        "yield": 0.75,
    }
    assert report["anchors"]["num"] == len(by_anchor)
    for name, counts in (("triplets", by_anchor.size()), ("positives", by_anchor.positive.nunique())):
        median = np.quantile(counts, 0.5, method="inverted_cdf")
        assert report["anchors"][name] == {"mean": counts.mean(), "median": median, "most": counts.max()}
    used = {*table.anchor, *table.positive, *table.negative}
    num_labels = len(set(corpus.labels[train]))
    assert report["coverage"] == {
        "num_labels": len(set(corpus.labels[table.anchor])),
        "num_train_labels": num_labels,
        "label_share": len(set(corpus.labels[table.anchor])) / num_labels,
        "num_examples": len(used),
        "num_train_examples": len(train),
        "example_share": len(used) / len(train),
    }
    hubs = table.negative.value_counts().reset_index().sort_values(["count", "negative"], ascending=[False, True])
    assert [(one["example_id"], one["num_triplets"]) for one in report["hubs"]["examples"]] == [
        tuple(row) for row in hubs.to_numpy()[:3].tolist()
    ]
    first = report["hubs"]["examples"][0]
    assert first["label"] == corpus.label_names[corpus.labels[first["example_id"]]]
    assert first["share"] == report["hubs"]["share_held_by_top"] == hubs["count"].max() / len(table)
    assert report["hubs"]["num_top"] == 1  # 1 % of some forty examples, rounded up
    assert report["quantiles"]["d_an"]["p50"] == pytest.approx(np.quantile(table.d_an, 0.5), abs=0.01)
    assert report["storage"]["bytes_per_triplet"] == report["storage"]["num_bytes"] / len(table)
    assert report["audit"] == {
        "spread": 0.5, "effective_rank": 10.0, "num_pairs_verified": len(table), "agreement": 1.0
    }  # fmt: skip


def test_the_summary_of_nothing_is_json_without_nan(tmp_path: Path) -> None:
    generation = publish_generation(prepared(tmp_path), 0, TRIPLETS.empty_table())
    save(generation.workspace, 5)
    answer = command(generation, tmp_path, "--against", "5")
    json.dumps(answer.report, allow_nan=False)
    assert answer.report["quantiles"]["margin"]["p50"] is None and answer.report["band"]["yield"] is None
    assert answer.report["against"]["listed_active_share"] is None
    assert "Generation 0 of run main" in printed(answer)


def test_what_else_the_audit_saw_is_shown_where_it_is_a_number(sound: OpenGeneration, tmp_path: Path) -> None:
    audit = {"neighbour_accuracy": 0.75, "num_triplets_left_out_by_hubs": 1234.0, "most_triplets_of_a_negative": 9.0}
    answer = command(with_manifest(sound, audit=audit, spread=float("nan")), tmp_path)
    assert answer.report["audit"].items() >= audit.items() and answer.report["audit"]["spread"] is None
    text = printed(answer)
    assert "1,234 triplets of hubs beyond their cap" in text and "for 75.0% of the training examples" in text
    assert "spread –, effective rank 10.0" in text


def test_a_label_is_shown_as_it_is_written(sound: OpenGeneration, tmp_path: Path) -> None:
    answer = command(sound, tmp_path)
    answer.report["hubs"]["examples"][0]["label"] = "[bold red]x[/] :smile:"
    assert "[bold red]x[/] :smile:" in printed(Answer({}, format_summary(answer.report)))


def test_rows_of_the_quarantine_are_counted_by_reason_and_by_whether_mining_did_without(tmp_path: Path) -> None:
    rows = [
        quarantine_rows("label_noise_suspect", np.array([0, 3, 5]), excluded=True),
        quarantine_rows("false_negative_suspect", np.array([1, 2]), excluded=False),
    ]
    counts = {"label_noise_suspect": 3, "false_negative_suspect": 70, "singleton": 0}
    generation = mined(str(tmp_path / "w"), tmp_path, suspects=pa.concat_tables(rows).to_pylist(), quarantined=counts)
    answer = command(generation, tmp_path)
    assert answer.report["quarantine"] == {
        "label_noise_suspect": {"num": 3, "num_excluded": 3},
        "false_negative_suspect": {"num": 70, "num_excluded": 0},
        "singleton": {"num": 0, "num_excluded": 0},
    }
    assert "label_noise_suspect" in printed(answer) and "singleton" not in printed(answer)


@pytest.mark.parametrize(
    ("band", "words"),
    [
        ({"mode": "hard"}, "hard: the nearest d_an, whatever it is"),
        ({"mode": "semi_hard", "margin": 0.25}, "semi_hard: d_ap < d_an < d_ap + 0.25"),
        ({"mode": "positive_aware", "ratio": 1.05, "offset": 0.1}, "positive_aware: d_an > 1.05 · d_ap + 0.1"),
        ({"mode": "range", "low": 0.5, "high": 1.5}, "range: 0.5 < d_an < 1.5"),
    ],
)
def test_a_band_is_said_as_an_inequality(band: dict[str, Any], words: str) -> None:
    assert format_band(BandConfig(**band)) == words


def test_trainers_figures_are_those_of_newer_checkpoints_that_had_pinned_the_generation(sound: OpenGeneration) -> None:
    save(sound.workspace, 10, 0, listed_active_share=0.9, listed_in_band_share=0.7, loss=0.1)
    save(sound.workspace, 20, 0, loss=0.1)
    save(sound.workspace, 30, None, listed_active_share=0.1)
    save(sound.workspace, 40, 0, listed_active_share=0.5, listed_in_band_share=float("nan"))
    save(sound.workspace, 50, 1, listed_active_share=0.3, listed_in_band_share=0.3)
    assert staleness_history(sound) == [
        {"step": 10, "listed_active_share": 0.9, "listed_in_band_share": 0.7},
        {"step": 40, "listed_active_share": 0.5},
    ]
    later = with_manifest(sound, checkpoint_step=10)
    assert [one["step"] for one in staleness_history(later)] == [40]


@pytest.mark.parametrize("step", [0, 10])
@pytest.mark.parametrize("num", [20, 10_000])
def test_triplets_scored_again_have_the_distances_of_a_checkpoints_embeddings(
    sound: OpenGeneration, tmp_path: Path, step: int, num: int
) -> None:
    save(sound.workspace, 10)
    config = run_config(sound.workspace, tmp_path)
    found = score_under_checkpoint(sound, config, step, num)
    table = sample_triplets(sound.reader, num, config.seed).to_pandas()
    vectors = embedded(sound.workspace, sound.corpus, step).astype(np.float64)
    d_ap, d_an = (((vectors[table.anchor] - vectors[other]) ** 2).sum(1) for other in (table.positive, table.negative))
    assert found["num_triplets"] == len(table) == min(num, sound.manifest.num_triplets)
    assert found["listed_active_share"] == pytest.approx(np.mean(d_ap - d_an + 0.2 > 0))
    in_band = np.mean((d_ap < d_an) & (d_an < d_ap + 0.2))
    assert found["listed_in_band_share"] == pytest.approx(in_band) and (step > 0 or in_band == 1.0)
    assert found["d_ap_drift"] == pytest.approx(np.mean(d_ap - table.d_ap), abs=1e-6)
    assert found["d_an_drift"] == pytest.approx(np.mean(d_an - table.d_an), abs=1e-6)


def test_the_newest_checkpoint_has_a_name(sound: OpenGeneration, tmp_path: Path) -> None:
    save(sound.workspace, 10)
    answer = command(sound, tmp_path, "--against", "latest", "--sample", "7", "--top", "2")
    assert answer.report["against"]["step"] == 10 and len(answer.report["hubs"]["examples"]) == 2
    assert "here, 7 triplets" in printed(answer)


def test_scoring_again_refuses_what_it_cannot_do_in_one_sentence(sound: OpenGeneration, tmp_path: Path) -> None:
    save(sound.workspace, 10)
    mixed = with_manifest(sound, old_share=0.5)
    assert refusal(lambda: score_under_checkpoint(mixed, run_config(mixed.workspace, tmp_path), 10, 5)).startswith(
        "--against: generation 0 stands with vectors of an old encoder for a share of 0.5 of its examples, so one "
    )


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_number_of_triplets_is_a_whole_one_from_one_on(value: str, triplets: RunTriplets) -> None:
    triplets("summary", f"--sample={value}").assert_refused(f"{value!r} is no whole number from 1 on")


def test_the_right_to_read_is_enough_on_s3(
    tmp_path: Path, s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{s3_environment.bucket}/summary"
    generation = mined(uri, tmp_path)
    for name, value in s3_environment.environment(READER_ACCESS_KEY, READER_SECRET_KEY).items():
        monkeypatch.setenv(name, value)
    report = command(generation, tmp_path, "--against", "0").report
    assert report["num_triplets"] == generation.manifest.num_triplets
    assert report["against"]["listed_in_band_share"] == 1.0
