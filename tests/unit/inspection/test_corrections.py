from pathlib import Path

import pytest

from pipeline.corpus.reader import Corpus
from pipeline.corpus.split import Split
from pipeline.storage.workspace import Workspace
from tests.support.refusals import refusal
from tests.unit.corpus.samples import folder_config, png, run_prepare, write_folder
from tests.unit.inspection.sql_samples import digests
from tests.unit.inspection.suspect_samples import command, prepared, publish_found


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return prepared(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


def labels(workspace: Workspace) -> list[str]:
    corpus = Corpus.open(workspace)
    return [corpus.label_names[code] for code in corpus.labels]


def test_accepting_and_applying_are_two_commands(workspace: Workspace, file: Path) -> None:
    expected = labels(workspace)
    written = command(workspace, "--csv", file, "--accept-above", "0.5")
    assert written.report["csv"] == {"file": str(file), "num_rows": 4, "num_accepted": 3}
    answer = command(workspace, "--apply", file)
    assert answer.report == {
        "published": True,
        "corpus": 1,
        "num_changed": 3,
        "num_unchanged": 0,
        "num_blank": 1,
        "num_to_test": 0,
        "num_to_training": 0,
        "new_labels": [],
    }
    assert answer.shown == [
        "corpus 1 is published (labels changed: 3, already so: 0, rows without a new label: 1): the next jobs.mine "
        "uses it, what runs now keeps to corpus 0"
    ]
    expected[7], expected[1], expected[4] = "person_0", "person_3", "person_2"
    assert labels(workspace) == expected


def test_what_was_published_before_stays_byte_for_byte(workspace: Workspace, file: Path) -> None:
    command(workspace, "--csv", file, "--accept-above", "0.5")
    before = digests(workspace)
    command(workspace, "--apply", file)
    after = digests(workspace)
    assert len(after) > len(before)
    assert {key: after[key] for key in before} == before


def test_a_list_can_be_applied_twice(workspace: Workspace, file: Path) -> None:
    command(workspace, "--csv", file, "--accept-above", "0.5")
    command(workspace, "--apply", file)
    before = digests(workspace)
    answer = command(workspace, "--apply", file)
    assert (answer.report["published"], answer.report["num_changed"], answer.report["num_unchanged"]) == (False, 0, 3)
    assert answer.shown == [
        "corpus 1 stands, nothing to do (labels changed: 0, already so: 3, rows without a new label: 1)"
    ]
    assert digests(workspace) == before


def test_a_list_can_be_filled_in_further_and_applied_again(workspace: Workspace, file: Path, tmp_path: Path) -> None:
    command(workspace, "--csv", file, "--accept-above", "0.6")
    command(workspace, "--apply", file)
    more = tmp_path / "more.csv"
    command(workspace, "--csv", more, "--accept-above", "0.5")
    assert command(workspace, "--apply", more).report["num_changed"] == 2
    assert Corpus.open(workspace).manifest.num_relabelled == 3
    command(workspace, "--apply", file)
    assert Corpus.open(workspace).manifest.number == 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "path,example_id,label,new_label\nperson_0/1.png,1,person_2,person_3\n",
            "line 2 of {file} says that the label of example 1 is 'person_2', but in corpus 0 it is 'person_0': the "
            "list is of another corpus, or was altered; make it anew",
        ),
        (
            "path,example_id,label,new_label\nperson_0/2.png,1,person_0,person_0\n",
            "line 2 of {file} says that the path of example 1 is 'person_0/2.png', but in corpus 0 it is "
            "'person_0/1.png': the list is of another corpus, or was altered; make it anew",
        ),
        (
            "example_id,new_label\n1,person_3\n12,person_3\n",
            "line 3 of {file} names example 12, but the ids of corpus 0 are 0 to 11: the list is of another corpus",
        ),
    ],
)
def test_a_list_of_another_corpus_is_refused_and_changes_nothing(
    workspace: Workspace, file: Path, rows: str, message: str
) -> None:
    file.write_text(rows)
    before = digests(workspace)
    assert refusal(lambda: command(workspace, "--apply", file)) == message.format(file=file)
    assert digests(workspace) == before


def test_a_list_made_before_the_source_was_read_again_is_refused(
    workspace: Workspace, file: Path, tmp_path: Path
) -> None:
    command(workspace, "--csv", file, "--accept-above", "0")
    write_folder(tmp_path / "faces", {"a_first/0.png": png(77), "a_first/1.png": png(78)})
    run_prepare(folder_config(tmp_path / "faces"), workspace, again=True)
    message = refusal(lambda: command(workspace, "--apply", file))
    assert "the list is of another corpus, or was altered; make it anew" in message


def test_a_list_without_labels_and_paths_is_applied_and_said(
    workspace: Workspace, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text("example_id,new_label\n1,person_3\n")
    assert command(workspace, "--apply", file).report["num_changed"] == 1
    said = capfd.readouterr().err
    assert f"note: {file} names neither labels nor paths: nothing shows that it is of corpus 0\n" in said


def test_new_labels_are_named_since_they_may_be_misspelt(
    workspace: Workspace, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file.write_text(
        "example_id,new_label,label,path\n1,person3,person_0,person_0/1.png\n2,Zoë,person_0,person_0/2.png\n"
    )
    assert command(workspace, "--apply", file).report["new_labels"] == ["Zoë", "person3"]
    said = capfd.readouterr().err
    assert "note: labels that are new to the corpus: 2, the first 'Zoë'; if that is not meant, correct the list" in said
    assert "neither labels nor paths" not in said


@pytest.mark.parametrize("label", [" person_1", "person_1 ", "per\x00son"])
def test_labels_that_people_could_not_tell_apart_are_refused(workspace: Workspace, file: Path, label: str) -> None:
    file.write_text(f'example_id,new_label\n1,"{label}"\n')
    message = refusal(lambda: command(workspace, "--apply", file))
    assert "which begins or ends with a blank or holds a control character" in message


def test_examples_that_move_into_the_evaluation_are_said_aloud(
    tmp_path: Path, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace.open(str(tmp_path / "workspace"), "main")
    names = [f"person_{i}" for i in range(20)]
    test = next(name for name in names if Split(0.2).is_test(name))
    training = [name for name in names if not Split(0.2).is_test(name)][:2]
    files = {f"{name}/{i}.png": png(10 * place + i) for place, name in enumerate((*training, test)) for i in range(3)}
    run_prepare(folder_config(write_folder(tmp_path / "faces", files), test_fraction=0.2), workspace)
    publish_found(workspace, [])
    old = labels(workspace)
    file.write_text(f"example_id,new_label\n{old.index(training[0])},{test}\n{old.index(test)},{training[0]}\n")
    report = command(workspace, "--apply", file).report
    assert (report["num_changed"], report["num_to_test"], report["num_to_training"]) == (2, 1, 1)
    said = capfd.readouterr().err
    assert (
        "WARNING: examples that move from training labels to labels kept for evaluation: 1; checkpoints trained before "
        "have seen them under their old labels, and their figures may flatter\n" in said
    )
    assert "note: examples that move from labels kept for evaluation to training labels: 1\n" in said


def test_a_workspace_that_cannot_be_written_is_refused_first(tmp_path: Path, file: Path) -> None:
    (tmp_path / "taken").write_text("a file, and no folder")
    taken = Workspace.open(str(tmp_path / "taken"), "main")
    assert "taken" in refusal(lambda: command(taken, "--apply", file))


def test_correcting_needs_no_generation(workspace: Workspace, file: Path) -> None:
    other = Workspace(workspace.store, "another-run")
    file.write_text("example_id,new_label\n1,person_3\n")
    assert command(other, "--apply", file).report["published"] is True
