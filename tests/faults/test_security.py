"""Hostile settings, names and workspaces, given to the jobs: nothing outside the workspace is read or written."""

import shutil
from pathlib import Path

import pytest

from tests.support.jobs import succeed
from tests.unit.corpus.samples import write_folder
from tests.unit.jobs.test_cli import assert_refused, job

FEW = ("--corpus.source.glyphs.max_labels=20", "--corpus.source.glyphs.image_size=16", "--corpus.test_fraction=0.4")
SECRET = "a-canary-of-a-secret"


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder; links are not followed."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared workspace."""
    place = tmp_path_factory.mktemp("prepared") / "workspace"
    succeed("prepare", "--workspace", place, *FEW)
    return place


@pytest.fixture
def workspace(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it, below a folder of its own."""
    return Path(shutil.copytree(prepared, tmp_path / "own" / "workspace"))


@pytest.mark.parametrize(
    "document",
    [
        f"aws_secret_access_key: {SECRET}",
        f"cluster: {{aws_secret_access_key: {SECRET}}}",
        f"workspace: s3://an-id:{SECRET}@bucket/prefix",
        f"workspace: {{aws_secret_access_key: {SECRET}}}",
        f"storage: {{key: {SECRET}",
    ],
)
def test_a_secret_has_no_place_in_a_file_of_settings_and_is_not_repeated(tmp_path: Path, document: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(document)
    for name in ("prepare", "mine"):
        ended = job(name, "--config", file)
        assert_refused(ended)
        assert SECRET not in ended.words


@pytest.mark.parametrize(
    "flags",
    [
        ("--aws_secret_access_key", SECRET),
        (f"--aws_secret_access_key={SECRET}",),
        ("--workspace", f"s3://an-id:{SECRET}@bucket/prefix"),
    ],
)
def test_a_secret_has_no_place_on_a_command_line_and_is_not_repeated(flags: tuple[str, ...]) -> None:
    ended = job("prepare", *flags)
    assert_refused(ended)
    assert SECRET not in ended.words


def test_names_in_a_hostile_folder_do_nothing_to_the_terminal_that_reads_of_them(tmp_path: Path) -> None:
    name = "ann/[red]\x1b]0;owned\x07\x1b[2Jα\u202egnp.jpg"
    people = write_folder(tmp_path / "people", {name: b"no image"})
    source = ("--corpus.source.kind=image_folder", f"--corpus.source.path={people}")
    ended = job("prepare", "--workspace", tmp_path / "w", *source)
    assert_refused(ended, "[red]\\x1b]0;owned\\x07\\x1b[2Jα\\u202egnp.jpg")
    assert all(one.isprintable() for one in ended.words.replace("\n", ""))


ODD_NAMES = [
    "../../x", "..", ".", "", "/etc", "a/b", ".hidden", "-x", "~", "a b", "a\nb", "main\n", "a\0b", "é", "a\u202eb",
    "a:1", "x" * 65,
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_run_is_called_by_a_plain_name_or_not_at_all(tmp_path: Path, name: str) -> None:
    assert_refused(job("prepare", f"--run={name}", "--workspace", tmp_path / "own"), "run: ")
    assert_refused(job("mine", "--run=new", f"--harmonic.checkpoint={name}", "--workspace", tmp_path / "own"))
    assert not list(tmp_path.iterdir())


OUT = "../../../outside"


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("mine", (f"--encoder.pretrained={OUT}",)),
        ("mine", (f"--encoder.pretrained={OUT}:3",)),
        ("mine", ("--run=new", f"--harmonic.checkpoint={OUT}:0")),
        ("export", (f"--checkpoint={OUT}",)),
        ("export", (f"--checkpoint={OUT}:0",)),
        ("evaluate", (f"--checkpoint={OUT}:latest",)),
        ("evaluate", ("--checkpoint=/:0",)),
        ("sweep", (f"--name={OUT}", "--values=8", "--images=180", "--seeds=1")),
        ("sweep", ("--name=/outside", "--values=8", "--images=180", "--seeds=1")),
        ("compare", (f"--name={OUT}", "--images=180", "--seeds=1")),
        ("compare", ("--name=", "--images=180", "--seeds=1")),
        ("compare", ("--beside", OUT)),
    ],
)
def test_names_that_lead_out_of_the_workspace_are_refused_and_nothing_is_written(
    workspace: Path, name: str, flags: tuple[str, ...]
) -> None:
    outside = workspace.parents[1]
    (outside / "outside").mkdir()
    before = everything(outside)
    assert_refused(job(name, "--workspace", workspace, *FEW, *flags))
    assert everything(outside) == before


def test_a_link_planted_in_a_workspace_leads_no_job_out_of_it(workspace: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("of somebody else")
    (workspace / "runs").symlink_to(outside)
    assert_refused(job("train", "--workspace", workspace, *FEW, "--training.source=random"), "symbolic link")
    (workspace / "corpus" / "data").rename(outside / "data")
    (workspace / "corpus" / "data").symlink_to(outside / "data")
    before = everything(outside)
    assert_refused(job("mine", "--workspace", workspace, *FEW), "symbolic link")
    assert everything(outside) == before


def test_a_job_that_meets_a_forged_manifest_says_so_and_reads_nothing_else(workspace: Path, tmp_path: Path) -> None:
    secret = tmp_path / "own" / "secret"
    secret.write_text(SECRET)
    file = workspace / "corpus" / "manifests" / "000000000.json"
    whole = file.read_text()
    assert '"key": "corpus/data/' in whole
    for elsewhere in ("../secret", str(secret), "runs/main/report.html"):
        file.write_text(whole.replace('"key": "corpus/data/', f'"key": "{elsewhere}/'))
        ended = job("mine", "--workspace", workspace, *FEW)
        assert ended.code == 4 and "names the part" in ended.words and SECRET not in ended.words
