"""Statements can neither write nor get at anything but the views."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.inspection.query.sql_guard import VIEWS
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from tests.support.refusals import refusal
from tests.unit.inspection.report_samples import finished_run
from tests.unit.inspection.sql_samples import answer, digests, session, workspace

__all__ = ["workspace"]

REFUSED = {
    "SELEC 1": 'syntax error at or near "SELEC"',
    "": "one statement is run at a time, not 0",
    "SELECT 1; SELECT 2": "one statement is run at a time, not 2",
    "SELECT 1; DROP VIEW triplets": "only SELECT, DESCRIBE and SUMMARIZE are run",
    "FROM nowhere": "there is no view 'nowhere'",
    "FROM labels_0": "there is no view 'labels_0'",
    "FROM triplets_2": "there is no view 'triplets_2'",
    "SELECT nothing FROM triplets": 'Referenced column "nothing" not found',
    "SELECT * FROM '/etc/passwd'": "there is no view '/etc/passwd'",
    "FROM information_schema.tables": "there is no view 'tables'",
    "FROM read_csv('/etc/passwd')": "read_csv() reads what is no view",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))": "read_text() reads what is no view",
    "FROM glob('/etc/*')": "glob() reads what is no view",
    "FROM query('SELECT 1')": "query() reads what is no view",
    "FROM json_execute_serialized_sql('x')": "json_execute_serialized_sql() reads what is no view",
    "SELECT getenv('HOME')": "getenv does not exist",
    "SHOW TABLES": "SHOW is not run",
    "SELECT now()": "column 'now()' is a time with a zone",
    "SELECT 'x'::INT": "Could not convert string 'x'",
    "SELECT '\udcff'": "not in UTF-8",
    "SELECT $a": "",
    "SELECT ?": "",
} | dict.fromkeys(
    [
        "INSERT INTO triplets VALUES (1)", "CREATE TABLE t (i INT)",
        "UPDATE triplets SET anchor = 1", "DELETE FROM triplets",
        "DROP VIEW triplets", "ALTER TABLE triplets ADD COLUMN i INT", "COPY triplets TO 'x.csv'", "ATTACH 'x.db'",
        "PRAGMA database_list", "SET threads = 1", "RESET memory_limit", "INSTALL httpfs", "LOAD httpfs", "CHECKPOINT",
        "CALL pragma_version()", "EXPORT DATABASE 'x'", "USE main", "VACUUM", "BEGIN", "PREPARE p AS SELECT 1",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO 'x.csv'",
    ],
    "only SELECT, DESCRIBE and SUMMARIZE are run",
)  # fmt: skip


@pytest.mark.parametrize("statement", REFUSED)
def test_what_is_not_one_select_over_the_views_is_refused_in_a_sentence(workspace: Workspace, statement: str) -> None:
    words = refusal(lambda: answer(workspace, statement))
    assert REFUSED[statement] in words and words.startswith("SQL: ")
    assert statement == "SELECT now()" or words.endswith(f"the views are {', '.join(VIEWS)}")


def test_a_copy_within_a_with_overwrites_nothing(tmp_path: Path) -> None:
    """To DuckDB 2 it is a SELECT, and the shard is a file that may be read."""
    workspace = finished_run(tmp_path)
    before, key = digests(workspace), generations(workspace).read(2).parts_of("triplets")[0].key
    target = f"'{workspace.store.local_path(key)}' (FORMAT parquet, USE_TMP_FILE false)"
    for statement in (
        f"WITH x AS (COPY (SELECT 1 AS i) TO {target}) SELECT * FROM triplets",
        f"SELECT (WITH x AS (COPY (SELECT 1 AS i) TO {target}) SELECT count(*) FROM triplets)",
        f"FROM triplets UNION ALL (WITH x AS (COPY (SELECT 1 AS i) TO {target}) FROM triplets)",
        "WITH x AS (DELETE FROM triplets RETURNING *) FROM x",
    ):
        with pytest.raises(InputError, match=r"nothing is written|only SELECT"):
            answer(workspace, statement)
    assert digests(workspace) == before


def test_the_connection_itself_is_closed_to_other_files_and_to_new_settings(workspace: Workspace) -> None:
    """The second lock, behind the look at the syntax tree."""
    with session(workspace) as opened:
        opened.select("SELECT count(*) FROM triplets").fetch()
        for statement in (
            "FROM read_text('/etc/passwd')",
            "COPY (SELECT 1) TO '/tmp/motherlode-test.csv'",
            "SET enable_external_access = true",
            "LOAD httpfs",
            "ATTACH '/tmp/motherlode-test.db'",
        ):
            with pytest.raises(InputError, match=r"disabled|locked"):
                opened.run([], statement, {})


ALLOWED = {
    "SELECT 1 + 1": [(2,)],
    "VALUES (1), (2)": [(1,), (2,)],
    "SELECT count(*) FROM range(3)": [(3,)],
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT max(i) FROM r": [(3,)],
    "WITH t AS (FROM triplets) SELECT count(*) FROM t": [(120,)],
    "WITH triplets AS (SELECT 7) FROM triplets": [(7,)],
    'SELECT count(*) FROM MAIN."Triplets"': [(120,)],
    "SELECT count(*) FROM triplets a JOIN triplets b USING (anchor, positive, negative, d_ap)": [(120,)],
    "SELECT count(*) FROM triplets; -- and a comment": [(120,)],
    "SELECT count(*) FROM (DESCRIBE triplets)": [(10,)],
    "SELECT column_name FROM (SUMMARIZE triplets) LIMIT 1": [("generation",)],
    "SELECT sum(hard) > 0 FROM (PIVOT triplets ON kind IN ('hard', 'easy') USING count(*))": [(True,)],
}


@pytest.mark.parametrize("statement", ALLOWED)
def test_what_reads_is_run(workspace: Workspace, statement: str) -> None:
    found = answer(workspace, statement)
    assert found == ALLOWED[statement]
