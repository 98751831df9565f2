import json
from pathlib import Path

import pytest

from jobs.cli import Answer
from pipeline.corpus.reader import Corpus
from pipeline.corpus.relabel import find_changes, relabel
from pipeline.inspection.generation import open_generation
from pipeline.inspection.labels.suspects import corpus_to_correct, list_suspects
from pipeline.storage.workspace import Workspace
from tests.support.refusals import refusal
from tests.support.s3_server import S3Server
from tests.unit.corpus.samples import folder_config, png, run_prepare, write_folder
from tests.unit.inspection.answers import printed
from tests.unit.inspection.suspect_samples import FOUND, command, faces_config, prepared, publish_found


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return prepared(tmp_path)


def ids(answer: Answer) -> list[int]:
    return [row["example_id"] for row in answer.report["suspects"]]


def correct(workspace: Workspace, wanted: dict[int, str]) -> None:
    corpus = Corpus.open(workspace)
    relabel(workspace, corpus, find_changes(corpus, wanted), 0, "c" * 64)


def test_suspects_come_with_all_that_a_person_needs_best_first_ties_by_id(workspace: Workspace) -> None:
    answer = command(workspace)
    report = answer.report
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["generation"], report["corpus"], report["num_suspects"], report["num_corrected"]) == (0, 0, 4, 0)
    assert [(row["rank"], row["example_id"]) for row in report["suspects"]] == [(1, 7), (2, 1), (3, 4), (4, 10)]
    first, last = report["suspects"][0], report["suspects"][-1]
    assert first == {
        "rank": 1,
        "example_id": 7,
        "path": "person_2/1.png",
        "label": "person_2",
        "suggested_label": "person_0",
        "score": 0.9,
    }
    assert last["score"] is None
    for word in ("generation 0, suspects of a wrong label: 4", "person_2/1.png", "person_0", "0.9"):
        assert word in printed(answer)


def test_as_many_as_asked_for_are_shown(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, [(i % 12, "person_3", float(i)) for i in range(30)])
    assert len(ids(command(workspace))) == 20
    answer = command(workspace, "--number", "3")
    assert (ids(answer), answer.report["num_suspects"]) == ([5, 4, 3], 30)


def test_a_score_that_is_no_number_comes_last_and_is_not_shown(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, [(1, "person_3", float("nan")), (4, "person_2", 0.1)])
    rows = command(workspace).report["suspects"]
    assert [(row["example_id"], row["score"]) for row in rows] == [(4, 0.1), (1, None)]


def test_no_suspects_are_an_answer_too(tmp_path: Path) -> None:
    answer = command(prepared(tmp_path, []))
    assert (answer.report["num_suspects"], answer.report["suspects"]) == (0, [])
    assert "suspects of a wrong label: 0" in printed(answer)


def test_only_one_label_is_listed_where_that_is_asked_for(workspace: Workspace) -> None:
    answer = command(workspace, "--label", "person_1")
    assert (ids(answer), answer.report["num_suspects"]) == ([4], 1)
    message = refusal(lambda: command(workspace, "--label", "person_9"))
    assert message == "--label 'person_9' is no label of corpus 0: write it as the corpus has it"


def test_labels_are_shown_as_text_whatever_they_look_like(tmp_path: Path) -> None:
    files = {"[red]x[/red]/a.png": png(1), "[red]x[/red]/[b].png": png(2), "b/a.png": png(3), "b/b.png": png(4)}
    text = printed(command(prepared(tmp_path, [(0, "[link=http://x]y[/link]", 1.0)], files)))
    assert "[red]x[/red]/[b].png" in text and "[link=http://x]y[/link]" in text


def test_what_was_corrected_since_is_left_out_and_counted(workspace: Workspace) -> None:
    correct(workspace, {7: "person_0", 2: "person_1"})
    answer = command(workspace)
    assert (answer.report["corpus"], ids(answer)) == (1, [1, 4, 10])
    assert (answer.report["num_suspects"], answer.report["num_corrected"]) == (3, 1)
    assert "generation 0, suspects of a wrong label: 3 (corrected since: 1)" in printed(answer)


def test_a_generation_of_another_corpus_is_listed_as_that_and_said(
    workspace: Workspace, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "faces", {"a_first/0.png": png(77), "a_first/1.png": png(78)})
    run_prepare(folder_config(tmp_path / "faces"), workspace, again=True)
    capfd.readouterr()
    answer = command(workspace)
    assert (answer.report["corpus"], ids(answer)) == (0, [7, 1, 4, 10])
    assert capfd.readouterr().err == (
        "note: generation 0 was mined from corpus 0, and corpus 1 was prepared since: this list is of the old one, and "
        "not to be applied; mine again (jobs.mine)\n"
    )


def test_more_than_the_audit_listed_is_said(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    publish_found(workspace, FOUND, number=1, num_audited=5000)
    capfd.readouterr()
    command(workspace)
    assert capfd.readouterr().err == "note: the audit found 5,000, and listed the 4 most suspect of them\n"


def test_an_older_generation_is_listed_by_its_number(workspace: Workspace) -> None:
    publish_found(workspace, [(3, "person_0", 1.0)], number=1)
    assert ids(command(workspace)) == [3]
    assert ids(command(workspace, "--generation", "0")) == [7, 1, 4, 10]


def test_listing_writes_nothing_into_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    before = workspace.store.list("")
    command(workspace, "--csv", tmp_path / "labels.csv")
    assert workspace.store.list("") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--accept-above", "0.5"), "--accept-above fills in new labels: say with --csv or --page where"),
        (("--apply", "x.csv", "--number", "3"), "--apply takes a list as it is: leave --number out"),
        (("--apply", "x.csv", "--accept-above", "0"), "--apply takes a list as it is: leave --accept-above out"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    workspace: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    assert refusal(lambda: command(workspace, *arguments)) == message


def test_a_workspace_without_a_generation_says_what_to_run(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path / "workspace"), "main")
    run_prepare(faces_config(tmp_path / "faces"), workspace)
    words = "has no generation yet: check --workspace and --run, or run jobs.mine or jobs.loop first"
    assert words in refusal(lambda: command(workspace))


def test_suspects_on_s3_are_listed_and_corrected(tmp_path: Path, s3_environment: S3Server) -> None:
    workspace = prepared(tmp_path, uri=f"s3://{s3_environment.bucket}/suspects")
    file = tmp_path / "labels.csv"
    command(workspace, "--csv", file, "--accept-above", "0.5")
    answer = command(workspace, "--apply", file)
    assert answer.report["num_changed"] == 3
    generation = open_generation(workspace)
    found = list_suspects(generation, corpus_to_correct(generation), None)
    assert ([row.example_id for row in found.rows], found.num_corrected) == ([10], 3)
