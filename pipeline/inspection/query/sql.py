"""SQL over what a run has published: read-only, and restricted to the views of this package."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import duckdb

from pipeline.errors import InputError, UnavailableError
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.sql_guard import referenced_views, to_input_error
from pipeline.inspection.query.views import PATH, Catalog, sql_literal
from pipeline.storage.workspace import Workspace

MEMORY_LIMIT = "1GB"
"""Of DuckDB; larger data are sorted and joined in temporary files."""
MAX_THREADS = 4
"""Each needs its share of the memory."""
_DATA_ERRORS = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.PermissionException,  # a restricted connection raises it for a file that was removed
    duckdb.SerializationException,
)


class QueryResult:
    """The rows of a statement's result, read on demand.

    Attributes:
        columns: Names of the columns; two may be equal.
        types: SQL types of the columns.
    """

    def __init__(self, session: "SqlSession", connection: duckdb.DuckDBPyConnection) -> None:
        self._session, self._connection = session, connection
        description = connection.description or []
        self.columns = [str(column[0]) for column in description]
        self.types = [str(column[1]) for column in description]

    def fetch(self, num: int | None = None) -> list[tuple[Any, ...]]:
        """The next ``num`` rows, or all that are left; fewer at the end.

        Raises:
            InputError: A value cannot be computed, or a part was removed.
            CorruptDataError: A part is not what was published.
            UnavailableError: Memory and temporary files do not suffice.
        """
        fetch = self._connection.fetchall if num is None else lambda: self._connection.fetchmany(num)
        rows: list[tuple[Any, ...]] = self._session.call_duckdb(fetch)
        return rows


class SqlSession:
    """DuckDB over the views ``triplets``, ``corpus``, ``quarantine``, ``generations`` and ``checkpoints``.

    A view is opened when a statement first names it: its parts are read and verified, and then DuckDB reads the files
    of a local store in place, those of another store from a temporary folder that the session deletes. Statements
    cannot read other files, nor write, nor reach the network.

    Args:
        workspace: Of the run.
        load: Opens the generations whose triplets and quarantine the views show; called once, if at all.
    """

    def __init__(self, workspace: Workspace, load: Callable[[], Sequence[OpenGeneration]]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="motherlode-sql-", ignore_cleanup_errors=True)
        self._catalog = Catalog(workspace, load, Path(self._folder.name))
        self._opened: set[str] = set()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._has_paths = False

    @classmethod
    def of(cls, *generations: OpenGeneration) -> Self:
        """A session over open generations of one run."""
        return cls(generations[0].workspace, lambda: generations)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with ExitStack() as stack:
            stack.callback(self._folder.cleanup)
            if self._connection is not None:
                stack.callback(self._connection.close)

    def select(self, statement: str) -> QueryResult:
        """Runs a user's statement.

        Raises:
            InputError: It is not a single SELECT over the views, or fails; the run has no generation.
            CorruptDataError: A part is not what was published.
            UnavailableError: Memory and temporary files do not suffice.
        """
        names = referenced_views(statement)
        self._open(names)
        if "corpus" in names and not self._has_paths and self._reads_paths(statement):
            self._add_paths()
        rows = self._execute(statement, {})
        for name, kind in zip(rows.columns, rows.types, strict=True):
            if "WITH TIME ZONE" in kind:  # DuckDB needs another package to convert these to Python
                raise InputError(f"SQL: column {name!r} is a time with a zone: cast it, as in {name}::TIMESTAMP")
        return rows

    def run(
        self, views: Sequence[str], statement: str, parameters: Mapping[str, object], paths: bool = False
    ) -> QueryResult:
        """Runs a statement of this package, which may also name ``triplets_N``, of generation N alone, without labels.

        Args:
            views: The views that it names.
            statement: With named parameters.
            parameters: Their values.
            paths: Whether it reads ``corpus.path``.

        Raises:
            InputError: The run has no generation.
            CorruptDataError: A part is not what was published.
            UnavailableError: Memory and temporary files do not suffice.
        """
        self._open(set(views))
        if paths and not self._has_paths:
            self._add_paths()
        return self._execute(statement, parameters)

    def call_duckdb(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401 — the function's result
        """Calls a function that uses DuckDB, and translates DuckDB's errors."""
        try:
            return self._call_interruptibly(function)
        except duckdb.OutOfMemoryException as error:
            raise UnavailableError(
                f"SQL: {MEMORY_LIMIT} of memory and the room in {tempfile.gettempdir()} do not suffice "
                f"({str(error).splitlines()[0]}): ask for less, or set TMPDIR to a folder with more room"
            ) from None
        except _DATA_ERRORS as error:
            self._catalog.verify_parts_again()
            raise to_input_error(error) from None
        except duckdb.Error as error:
            raise to_input_error(error) from None

    def _call_interruptibly(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Calls a function in a thread, since Ctrl-C does not always reach DuckDB in the main thread."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(function)
            try:
                return future.result()
            except KeyboardInterrupt:
                if self._connection is not None:
                    self._connection.interrupt()
                raise

    def _open(self, names: set[str]) -> None:
        new = sorted(names - self._opened)
        for name in new:
            self._catalog.open(name)
        self._opened.update(new)
        if new or self._connection is None:
            self._connect()

    def _add_paths(self) -> None:
        self._catalog.add_paths()
        self._has_paths = True
        self._connect()

    def _reads_paths(self, statement: str) -> bool:
        """Whether DuckDB's optimised query plan has the column, for which all of the corpus must be read."""
        query_plan = self._execute(f"EXPLAIN (FORMAT JSON) {statement}", {}).fetch()
        return PATH in str(query_plan)

    def _execute(self, statement: str, parameters: Mapping[str, object]) -> QueryResult:
        connection = self._connection
        assert connection is not None
        self.call_duckdb(lambda: connection.execute(statement, dict(parameters)))
        return QueryResult(self, connection)

    def _connect(self) -> None:
        """Opens a connection that can reach only the views, tables and files of the catalog."""
        if self._connection is not None:
            self._connection.close()
        self._connection = connection = duckdb.connect()
        settings = {
            "temp_directory": sql_literal(f"{self._folder.name}/spilled"),
            "memory_limit": sql_literal(MEMORY_LIMIT),
            "threads": str(min(MAX_THREADS, os.cpu_count() or 1)),
            "allowed_paths": sql_literal(self._catalog.files),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
            "enable_external_access": "false",
            "lock_configuration": "true",  # last, since nothing can be set after it
        }
        for name, value in settings.items():
            connection.execute(f"SET {name} = {value}")
        for name, table in self._catalog.tables.items():
            connection.register(name, table)
        views = [f"CREATE VIEW {name} AS {select}" for name, select in self._catalog.views.items()]
        self.call_duckdb(lambda: connection.execute("; ".join(views)) if views else None)
