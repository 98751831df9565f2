import base64
import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import Answer
from jobs.triplet_commands import report
from pipeline.config import RunConfig, TransformConfig
from pipeline.corpus.reader import Corpus
from pipeline.encoders.checkpoints import checkpoints
from pipeline.errors import CorruptDataError
from pipeline.inspection.report.page import MAX_BYTES, MAX_TRIPLETS_PER_SHEET, render_report, write_report
from pipeline.inspection.report.sheets import hardest_labels
from pipeline.inspection.summary.statistics import collect_statistics
from pipeline.mining.triplets import Triplets
from pipeline.storage.workspace import Workspace
from pipeline.triplets.schema import TRIPLETS, to_arrow
from tests.support.refusals import refusal
from tests.support.s3_server import S3Server
from tests.unit.corpus.samples import run_prepare
from tests.unit.inspection.answers import answer_of
from tests.unit.inspection.html_page import Page
from tests.unit.inspection.report_samples import (
    IMAGE,
    SCRIPT,
    TEMPLATE,
    finished_run,
    image_corpus,
    mined,
    prepared,
    publish_checkpoint,
    publish_generation,
    put_refusal,
)

CONFIG = RunConfig()


def page_of(workspace: Workspace, num_generations: int = 8, triplets_per_sheet: int = 12) -> Page:
    return Page(render_report(workspace, CONFIG, num_generations, triplets_per_sheet))


def command(workspace: Workspace, *arguments: str | Path) -> Answer:
    """Runs ``jobs.triplets report`` on a workspace."""
    return answer_of(report, RunConfig(workspace=workspace.store.uri, run=workspace.run), *arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return finished_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def page(finished: Workspace) -> Page:
    return page_of(finished)


def test_the_report_stands_in_the_workspace_and_in_the_named_file(tmp_path: Path) -> None:
    workspace = finished_run(tmp_path)
    place = write_report(workspace, CONFIG, copy=tmp_path / "copy.html")
    assert place == str(tmp_path / "workspace" / "runs" / "main" / "report.html")
    assert Path(place).read_bytes() == (tmp_path / "copy.html").read_bytes()
    assert Path(place).read_bytes().startswith(b"<!DOCTYPE html>")


def test_labels_are_shown_as_the_text_that_they_are(page: Page) -> None:
    labels = {text for classes, text in page.texts if "label" in classes.split()}
    assert {SCRIPT, IMAGE, TEMPLATE, "Ada & Zoë"} <= labels


def test_no_text_of_the_data_becomes_an_element_an_attribute_or_a_template(page: Page) -> None:
    assert len(page.all("script")) == 1
    assert all(found["src"].startswith("data:image/") for found in page.all("img"))
    assert "49" not in {text for _, text in page.texts}  # 7 * 7
    names = {name for _, attributes in page.elements for name in attributes}
    assert not {name for name in names if name.startswith("on")}


def test_the_policy_allows_the_pages_own_script_and_style_and_data_images_and_nothing_else(page: Page) -> None:
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(rule.strip().split(" ", 1) for rule in policy["content"].split(";"))
    digest = {
        tag: base64.b64encode(hashlib.sha256("".join(parts).encode()).digest()).decode()
        for tag, parts in page.inline.items()
    }
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest['style']}'",
        "script-src": f"'sha256-{digest['script']}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not any("style" in attributes for _, attributes in page.elements)


def test_nothing_is_referred_to_outside_the_page(page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "xlink:href", "data"):
            target = attributes.get(name, "data:")
            assert target.startswith("data:") or target[1:] in ids, target
    assert "url(" not in "".join(page.inline["style"])
    assert "http" not in "".join(page.inline["style"] + page.inline["script"])


def test_the_hardest_sheet_holds_the_smallest_margins_of_all_shards(finished: Workspace, page: Page) -> None:
    table = mined(Corpus.open(finished), 120, seed=2)
    margins = np.sort(table["d_an"].to_numpy().astype(np.float64) - table["d_ap"].to_numpy().astype(np.float64))
    shown = [float(card["data-margin"]) for card in page.cards()[:12]]
    assert shown == pytest.approx(margins[:12], abs=1e-6)


def test_labels_with_most_of_the_hardest_twentieth_come_first(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    corpus = Corpus.open(workspace)
    anchor = np.sort(np.arange(200) % corpus.num_examples)
    other = (anchor + 3) % corpus.num_examples
    margin = np.full(200, 0.3, dtype=np.float32)
    many, few = np.flatnonzero(anchor == 7), np.flatnonzero(anchor == 2)
    margin[many[:6]], margin[few[:4]] = -0.2, -0.3  # 10 of 200
    d_ap = np.full(200, 0.5, dtype=np.float32)
    table = to_arrow(Triplets(anchor, other, other, d_ap, d_ap + margin))
    generation = publish_generation(workspace, 0, table)
    names, labels = corpus.label_names, corpus.labels
    expected = [(names[labels[7]], 6), (names[labels[2]], 4)]
    assert hardest_labels(generation, collect_statistics(generation), 5) == expected
    assert hardest_labels(generation, collect_statistics(generation), 1) == expected[:1]


def test_each_shown_triplet_has_three_pictures_and_its_kind(page: Page) -> None:
    assert len(page.all("div", **{"class": "example anchor"})) == len(page.cards())
    assert {card["data-kind"] for card in page.cards()} <= {"hard", "semi_hard", "easy"}
    pictures = [found for found in page.all("img") if found["alt"].startswith(("anchor", "positive"))]
    assert len(pictures) == 2 * len(page.cards())


def test_the_quarantine_says_what_was_found_what_was_done_and_the_evidence(page: Page) -> None:
    suspects = [found for found in page.all("li") if "data-reason" in found]
    assert [(one["data-reason"], one["data-treatment"]) for one in suspects] == [
        ("label_noise_suspect", "reported"),
        ("label_noise_suspect", "reported"),
        ("near_duplicate_across_labels", "excluded"),
    ]
    assert [one.get("data-score", one.get("data-distance", ""))[:5] for one in suspects] == ["0.899", "0.699", "0.001"]
    assert ("detail", SCRIPT) in page.texts  # the entry whose words differ from its reason's
    assert "the encoder gave zero, which has no direction" in page.text  # looked for, and not found


def test_the_tiles_hold_the_newest_figures_beside_those_before(page: Page) -> None:
    assert "recall@1\n0.875\nstep 8" in page.text
    assert "VAL at FAR 1e-3\n0.750\nstep 8" in page.text
    assert "triplets\n120\nwas 120" in page.text
    assert "listed, still active\n62.5%\nat step 8" in page.text


def test_only_the_newest_generations_are_compared(finished: Workspace, page: Page) -> None:
    assert "0 → 1" in page.text
    fewer = page_of(finished, num_generations=2)
    assert "1 → 2" in fewer.text
    assert "0 → 1" not in fewer.text
    alone = page_of(finished, num_generations=1)
    assert "There are no two generations of one corpus to compare yet." in alone.text


def test_provenance_names_manifests_by_key_and_digest_and_never_where_the_workspace_is(
    finished: Workspace, page: Page
) -> None:
    key = "runs/main/generations/manifests/000000002.json"
    assert key in page.text
    assert hashlib.sha256(finished.store.get(key)).hexdigest() in page.text
    document = render_report(finished, CONFIG, 8, 12).decode()
    assert finished.store.uri not in document
    assert str(Path.home()) not in document


def test_a_refusal_of_a_newer_checkpoint_stands_at_the_top(tmp_path: Path) -> None:
    workspace = finished_run(tmp_path)
    put_refusal(workspace, 4, "settled: its generation was published after all")
    put_refusal(workspace, 12, f"collapsed {SCRIPT}: lower the learning rate")
    page = page_of(workspace)
    assert "The audit refused checkpoint 12" in page.text
    assert f"collapsed {SCRIPT}: lower the learning rate" in page.text
    assert "spread 1.25e-06" in page.text
    assert "settled" not in page.text
    assert page.text.index("audit refused") < page.text.index("yield of the band")


def test_a_run_whose_first_generation_was_refused_has_a_report_all_the_same(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    publish_checkpoint(workspace, 4, [0.5] * 4)
    put_refusal(workspace, 0, "the encoder has collapsed: initialise it otherwise")
    page = page_of(workspace)
    assert "the encoder has collapsed: initialise it otherwise" in page.text
    assert "No generation has been published yet." in page.text
    assert page.all("section", id="training")
    assert not page.all("section", id="triplets")


def test_a_run_with_nothing_to_show_is_an_input_error_that_says_what_to_run(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    assert refusal(lambda: write_report(workspace, CONFIG)) == (
        f"run 'main' in {workspace.store.uri} has no generation yet: check --workspace and --run, or run jobs.mine or "
        "jobs.loop first"
    )
    assert not workspace.store.exists(workspace.report_key)


def test_a_generation_without_a_triplet_has_a_report(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    publish_checkpoint(workspace, 0)
    publish_generation(workspace, 0, TRIPLETS.empty_table(), num_pairs=0)
    page = page_of(workspace)
    assert page.cards() == []
    assert "No triplets." in page.text
    assert "yield of the band\n–" in page.text
    assert re.search(r"\bnan\b", page.text.lower()) is None


def test_vectors_have_no_pictures_but_their_own_ids(tmp_path: Path) -> None:
    page = page_of(finished_run(tmp_path, vectors=True))
    assert page.all("img") == []
    assert len(page.cards()) > 12
    sources = {text for classes, text in page.texts if "source" in classes.split()}
    assert "v0" in sources


def test_no_number_of_pictures_and_no_length_of_text_makes_the_page_too_large(tmp_path: Path) -> None:
    labels = [character * 5_000 for character in "<\"&'\N{GRINNING FACE}abcdefg"]
    workspace = Workspace.open(str(tmp_path / "workspace"), "main")
    run_prepare(image_corpus(tmp_path / "source", labels, image_size=200), workspace)
    publish_checkpoint(workspace, 0, transform=TransformConfig(height=96, width=96, channels=3))
    reasons = [character * 1_000 for character in "<\"&'abcdefghijkl"]
    suspects = [
        {"example_id": number % 36, "other_id": 3, "reason": reason, "excluded": True, "suggested_label": labels[1]}
        | {"distance": 0.1, "score": 0.5, "detail": f"{number}" + "<" * 1_000}
        for reason in reasons
        for number in range(MAX_TRIPLETS_PER_SHEET)
    ]
    publish_generation(workspace, 0, mined(Corpus.open(workspace), 3_000), suspects)
    put_refusal(workspace, 5, "<" * 100_000)
    document = render_report(workspace, CONFIG, 8, MAX_TRIPLETS_PER_SHEET)
    assert MAX_BYTES / 2 < len(document) < MAX_BYTES
    assert document.count(b' data-margin="') == 3 * MAX_TRIPLETS_PER_SHEET


def test_where_the_checkpoint_is_gone_the_config_says_what_is_seen(tmp_path: Path) -> None:
    workspace = finished_run(tmp_path)
    workspace.store.delete(checkpoints(workspace).manifest_key(8))
    page = page_of(workspace)
    assert "Checkpoint 8 is gone: pictures are cut as this run's config says." in page.text
    assert page.all("img")


def test_generations_of_an_older_corpus_are_not_compared_with_those_of_the_newest(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    publish_checkpoint(workspace, 0)
    publish_generation(workspace, 0, mined(Corpus.open(workspace), 20))
    publish_generation(workspace, 1, mined(Corpus.open(workspace), 20), corpus_fingerprint="0" * 64)
    run_prepare(image_corpus(tmp_path / "other", ["p", "q"]), workspace, again=True)
    publish_generation(workspace, 2, mined(Corpus.open(workspace), 20))
    page = page_of(workspace)
    assert "There are no two generations of one corpus to compare yet." in page.text
    assert "Left out: generation 1 was mined from a corpus that is not in" in page.text


def test_a_loss_that_is_no_number_is_named(tmp_path: Path) -> None:
    workspace = prepared(tmp_path)
    publish_checkpoint(workspace, 4, [0.5, math.nan, math.inf, 0.25])
    put_refusal(workspace, 4)
    page = page_of(workspace)
    assert ("alarm", "The loss of 2 steps is no number.") in page.texts
    assert not any("nan" in found["d"] or "inf" in found["d"] for found in page.all("path"))


@pytest.mark.parametrize(
    ("key", "content", "what"),
    [
        ("evaluation/000000008/retrieval.json", b"[1]", "not a result of jobs.evaluate: restore it, or remove it"),
        ("evaluation/000000008/verification.json", b"{", "not a result of jobs.evaluate: restore it, or remove it"),
        (
            "refusals/000000012.json",
            b'{"step": "x"}',
            "no refusal of the audit: delete it, the next refresh writes it again",
        ),
    ],
)
def test_a_damaged_document_is_named(tmp_path: Path, key: str, content: bytes, what: str) -> None:
    workspace = finished_run(tmp_path)
    workspace.store.put(f"runs/main/{key}", content)
    message = refusal(lambda: page_of(workspace), CorruptDataError)
    assert message == f"'runs/main/{key}' in {workspace.store.uri} is {what}"


def test_a_copy_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "report.html"
    message = refusal(lambda: write_report(finished_run(tmp_path), CONFIG, copy=missing))
    assert message == f"the report cannot be written to {missing} (No such file or directory): name another --out"


def test_the_report_of_a_run_in_a_bucket_is_in_the_bucket(tmp_path: Path, s3_environment: S3Server) -> None:
    workspace = finished_run(tmp_path, f"s3://{s3_environment.bucket}/report")
    place = write_report(workspace, CONFIG)
    assert place == f"s3://{s3_environment.bucket}/report/runs/main/report.html"
    document = workspace.store.get(workspace.report_key)
    assert len(Page(document).cards()) > 48
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        assert s3_environment.environment()[name].encode() not in document


def test_the_command_says_where_the_report_is_and_takes_as_many_pictures_as_asked(tmp_path: Path) -> None:
    workspace, copy = finished_run(tmp_path), tmp_path / "copy.html"
    answer = command(workspace, "--out", copy, "--pictures", "3", "--generations", "2")
    place = str(workspace.store.local_path(workspace.report_key))
    assert answer.report == {"report": place, "copy": str(copy)}
    assert answer.shown == [place, str(copy)]
    page = Page(copy.read_bytes())
    sheets = [found["data-sheet"] for found in page.all("div") if "data-sheet" in found]
    assert (sheets[:2], set(sheets[2:])) == (["hardest", "random"], {"by label"})
    assert len(page.cards()) == 3 + 3 + len(sheets[2:])
    assert "0 → 1" not in page.text


@pytest.mark.parametrize(
    ("flag", "number", "most"), [("--pictures", 0, 200), ("--pictures", 201, 200), ("--generations", 65, 64)]
)
def test_numbers_that_would_outgrow_the_page_are_refused(tmp_path: Path, flag: str, number: int, most: int) -> None:
    message = refusal(lambda: command(prepared(tmp_path), flag, str(number)))
    assert message == f"command line: {flag} {number} is not between 1 and {most}"
