"""SQL verifies what it reads, ends cleanly, leaves nothing behind, and is a command."""

import signal
import threading
from pathlib import Path

import pytest

from pipeline.errors import CorruptDataError, InputError, PipelineError
from pipeline.inspection.query import sql
from pipeline.inspection.query.sql_guard import VIEWS
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.support.s3_server import S3Server
from tests.unit.inspection.command_line import RunTriplets
from tests.unit.inspection.report_samples import LABELS, SUSPECTS, finished_run
from tests.unit.inspection.sql_samples import (  # fmt: skip
    NUM_EXAMPLES,
    answer,
    digests,
    expected_triplets,
    session,
    spoil,
    temporary,
    workspace,
)

__all__ = ["temporary", "workspace"]


@pytest.mark.parametrize(
    ("how", "words"), [("missing", "is missing"), ("truncated", "bytes instead of"), ("flipped", "SHA-256")]
)
def test_a_shard_that_is_not_what_was_published_is_named_before_or_while_it_is_read(
    tmp_path: Path, how: str, words: str
) -> None:
    workspace = finished_run(tmp_path)
    with session(workspace) as opened:
        assert opened.select("SELECT count(*) FROM triplets").fetch() == [(120,)]
        spoil(workspace, how)
        if how != "flipped":  # DuckDB would read on: digests are compared when a view is opened
            with pytest.raises(CorruptDataError, match=f"triplets-00001.*{words}"):
                opened.select("SELECT sum(d_ap) FROM triplets").fetch()
    with pytest.raises(CorruptDataError, match=f"triplets-00001.*{words}"):
        answer(workspace, "SELECT count(*) FROM triplets")


def test_a_generation_that_was_removed_is_named_so_even_while_it_is_read(tmp_path: Path) -> None:
    workspace = finished_run(tmp_path)
    dataset = generations(workspace)
    with session(workspace) as opened:
        opened.select("SELECT count(*) FROM triplets").fetch()
        manifest = dataset.read(2)
        workspace.store.delete(dataset.manifest_key(2))
        for part in manifest.parts:
            workspace.store.delete(part.key)
        with pytest.raises(InputError, match=r"number 2 of .* was removed while it was read: choose one of \[0, 1\]"):
            opened.select("SELECT max(d_ap) FROM triplets").fetch()
    with pytest.raises(InputError, match="number 2 is not published"):
        answer(workspace, "FROM triplets", 2)
    assert answer(workspace, "SELECT DISTINCT generation FROM triplets") == [(1,)]


def test_what_memory_does_not_hold_is_sorted_on_the_disk(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MEMORY_LIMIT", "40MB")
    monkeypatch.setattr(sql, "MAX_THREADS", 1)
    statement = (
        "SELECT i FROM (SELECT range AS i, repeat('x', 40) AS x FROM range(1000000)) ORDER BY -i, x LIMIT 999999"
    )
    with session(workspace) as opened:
        rows = opened.select(statement)
        folder = Path(opened._folder.name)
        assert sum(file.stat().st_size for file in folder.rglob("*")) > 10 * 2**20
        assert [row for (row,) in rows.fetch(3)] == [999_999, 999_998, 999_997]
    monkeypatch.setattr(sql, "MEMORY_LIMIT", "1MB")
    with pytest.raises(PipelineError, match="do not suffice") as refused:
        answer(workspace, "SELECT list(range) FROM range(10000000)")
    assert refused.value.exit_code == 4


def test_ctrl_c_ends_a_statement(workspace: Workspace) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with session(workspace) as opened, pytest.raises(KeyboardInterrupt):
            threading.Timer(0.5, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
            opened.select("SELECT sum(a.range * b.range % 7) FROM range(10000000) a, range(10000000) b").fetch()
    finally:
        signal.signal(signal.SIGINT, before)


def test_s3_gives_the_same_answers_from_verified_copies_that_do_not_stay(
    s3_environment: S3Server, tmp_path: Path, temporary: Path
) -> None:
    workspace = finished_run(tmp_path, f"s3://{s3_environment.bucket}/sql")
    with session(workspace) as opened:
        assert sorted(opened.select("FROM triplets").fetch()) == expected_triplets(workspace, 2)
        assert len(opened.select("FROM quarantine").fetch()) == len(SUSPECTS)
        assert opened.select("SELECT count(path) FROM corpus").fetch() == [(NUM_EXAMPLES,)]
        assert list(temporary.rglob("*.parquet"))
    spoil(workspace, "flipped")
    with pytest.raises(CorruptDataError, match="SHA-256"):
        answer(workspace, "FROM triplets")


def test_looking_changes_nothing_and_leaves_nothing(workspace: Workspace, temporary: Path) -> None:
    before = digests(workspace)
    for view in VIEWS:
        assert answer(workspace, f"FROM {view}", every=True)
    with pytest.raises(InputError):
        answer(workspace, "SELECT 1 / 'x' FROM triplets")
    assert digests(workspace) == before


def test_the_command_prints_every_row_as_json_and_the_first_ones_to_people(
    workspace: Workspace, triplets: RunTriplets
) -> None:
    where = ("--workspace", workspace.store.uri)
    statement = "SELECT anchor, label, d_ap FROM triplets ORDER BY ALL"
    report = triplets("sql", statement, "--json", "--limit", 2, *where).report
    assert report["columns"] == ["anchor", "label", "d_ap"] and report["types"] == ["BIGINT", "VARCHAR", "FLOAT"]
    assert len(report["rows"]) == 120 and report["rows"][0][1] == LABELS[0]
    shown = triplets("sql", statement, "--limit", 2, *where)
    assert shown.code == 0 and shown.out.count(LABELS[0]) == 2
    assert "the first 2 rows; --limit shows more, --json all" in shown.out
    counted = triplets("sql", "SELECT count(*) AS n FROM triplets", "--generation", "all", "--json", *where)
    assert counted.report["rows"] == [[360]]


def test_every_value_is_json_and_text_is_shown_as_text(workspace: Workspace, triplets: RunTriplets) -> None:
    where = ("--workspace", workspace.store.uri)
    statement = (
        "SELECT 'nan'::DOUBLE, '-inf'::FLOAT, 1.5, 2::HUGEINT, DATE '2026-01-02', INTERVAL 1 DAY, 'x'::BLOB, "
        "{'a': [1, NULL]}, MAP {1: 'nan'::DOUBLE}, NULL, true, uuid() IS NULL, 1 AS a, 2 AS a"
    )
    (row,) = triplets("sql", statement, "--json", *where).report["rows"]
    assert row == [
        *("nan", "-inf", 1.5, 2, "2026-01-02", "1 day, 0:00:00", "78"),
        *({"a": [1, None]}, {"1": "nan"}, None, True, False, 1, 2),
    ]
    shown = triplets("sql", "SELECT '[bold]x[/bold] ' || chr(27) || '[31m' AS \"[red]y\", NULL AS n", *where).out
    assert "[bold]x[/bold] \\x1b[31m" in shown and "[red]y" in shown and "NULL" in shown and "\x1b" not in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("FROM triplets", "--generation", "9"), "number 9 is not published"),
        (("FROM triplets", "--generation", "x"), "'x' is neither the number of a generation nor 'all'"),
        (("FROM triplets", "--limit", "0"), "'0' is no whole number from 1 on"),
        (("SELEC",), "syntax error"),
        ((), "STATEMENT"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    workspace: Workspace, triplets: RunTriplets, flags: tuple[str, ...], words: str
) -> None:
    triplets("sql", *flags, "--workspace", workspace.store.uri).assert_refused(words)
