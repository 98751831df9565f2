"""SQL over what a run has published: read-only, and closed to all but the views of this package."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import duckdb

from pipeline.errors import InputError, UnavailableError
from pipeline.inspection.inspected import Inspected
from pipeline.inspection.query.statement import refused, views_named
from pipeline.inspection.query.views import PATH, Sources, quoted
from pipeline.storage.workspace import Workspace

MEMORY_LIMIT = "1GB"
"""What does not fit is sorted and joined in temporary files."""
MAX_THREADS = 4
"""Each needs its share of the memory."""
_DATA_ERRORS = (
    duckdb.IOException,
    duckdb.InvalidInputException,
    duckdb.PermissionException,  # what a file that is no longer there is to a closed connection
    duckdb.SerializationException,
)


class Rows:
    """The rows that a statement gives, read as they are asked for.

    Attributes:
        columns: Their names; two may be equal.
        types: SQL types of the columns.
    """

    def __init__(self, session: "Session", connection: duckdb.DuckDBPyConnection) -> None:
        self._session, self._connection = session, connection
        description = connection.description or []
        self.columns = [str(column[0]) for column in description]
        self.types = [str(column[1]) for column in description]

    def fetch(self, num: int | None = None) -> list[tuple[Any, ...]]:
        """The next ``num`` rows, or all that are left; fewer at the end.

        Raises:
            InputError: A value cannot be computed, or what is read was removed.
            CorruptDataError: What is read is not what was published.
            UnavailableError: Memory and temporary files do not suffice.
        """
        fetch = self._connection.fetchall if num is None else lambda: self._connection.fetchmany(num)
        rows: list[tuple[Any, ...]] = self._session.guarded(fetch)
        return rows


class Session:
    """DuckDB over the views ``triplets``, ``corpus``, ``quarantine``, ``generations`` and ``checkpoints``.

    A view is opened when a statement first names it: its parts are read and verified, and then DuckDB reads the files
    of a local store in place, those of another from a temporary folder that goes with the session. Statements cannot
    read other files, nor write, nor reach the network.

    Args:
        workspace: Of the run.
        chosen: Opens the generations whose triplets and quarantine the views show; called once, if at all.
    """

    def __init__(self, workspace: Workspace, chosen: Callable[[], Sequence[Inspected]]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="motherlode-sql-", ignore_cleanup_errors=True)
        self._sources = Sources(workspace, chosen, Path(self._folder.name))
        self._opened: set[str] = set()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._has_paths = False

    @classmethod
    def of(cls, *inspected: Inspected) -> Self:
        """A session over generations of one run that are open."""
        return cls(inspected[0].workspace, lambda: inspected)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with ExitStack() as stack:
            stack.callback(self._folder.cleanup)
            if self._connection is not None:
                stack.callback(self._connection.close)

    def select(self, statement: str) -> Rows:
        """Runs a person's statement.

        Raises:
            InputError: It is not one SELECT over the views, or fails; the run has no generation.
            CorruptDataError: A part is not what was published.
            UnavailableError: Memory and temporary files do not suffice.
        """
        names = views_named(statement)
        self._open(names)
        if "corpus" in names and not self._has_paths and self._reads_paths(statement):
            self._add_paths()
        rows = self._execute(statement, {})
        for name, kind in zip(rows.columns, rows.types, strict=True):
            if "WITH TIME ZONE" in kind:  # DuckDB hands these to Python only with the help of another package
                raise InputError(f"SQL: column {name!r} is a time with a zone: cast it, as in {name}::TIMESTAMP")
        return rows

    def run(self, views: Sequence[str], statement: str, parameters: Mapping[str, object], paths: bool = False) -> Rows:
        """Runs a statement of this package, which may also name ``triplets_N``, of generation N alone, without labels.

        Args:
            views: Those that it names.
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

    def guarded(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 — what the work gives
        """Does work with DuckDB, and turns its errors into sentences."""
        try:
            return self._interruptibly(work)
        except duckdb.OutOfMemoryException as error:
            raise UnavailableError(
                f"SQL: {MEMORY_LIMIT} of memory and the room in {tempfile.gettempdir()} do not suffice "
                f"({str(error).splitlines()[0]}): ask for less, or set TMPDIR to a folder with more room"
            ) from None
        except _DATA_ERRORS as error:
            self._sources.verify_again()
            raise refused(error) from None
        except duckdb.Error as error:
            raise refused(error) from None

    def _interruptibly(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Does work in a thread, since Ctrl-C does not always reach DuckDB in the main one."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(work)
            try:
                return future.result()
            except KeyboardInterrupt:
                if self._connection is not None:
                    self._connection.interrupt()
                raise

    def _open(self, names: set[str]) -> None:
        new = sorted(names - self._opened)
        for name in new:
            self._sources.open(name)
        self._opened.update(new)
        if new or self._connection is None:
            self._connect()

    def _add_paths(self) -> None:
        self._sources.add_paths()
        self._has_paths = True
        self._connect()

    def _reads_paths(self, statement: str) -> bool:
        """Whether the optimised plan has the column, for which all of the corpus must be read."""
        plan = self._execute(f"EXPLAIN (FORMAT JSON) {statement}", {}).fetch()
        return PATH in str(plan)

    def _execute(self, statement: str, parameters: Mapping[str, object]) -> Rows:
        connection = self._connection
        assert connection is not None
        self.guarded(lambda: connection.execute(statement, dict(parameters)))
        return Rows(self, connection)

    def _connect(self) -> None:
        """A connection that knows what is open, and can get at nothing else."""
        if self._connection is not None:
            self._connection.close()
        self._connection = connection = duckdb.connect()
        settings = {
            "temp_directory": quoted(f"{self._folder.name}/spilled"),
            "memory_limit": quoted(MEMORY_LIMIT),
            "threads": str(min(MAX_THREADS, os.cpu_count() or 1)),
            "allowed_paths": quoted(self._sources.files),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "python_enable_replacements": "false",
            "enable_external_access": "false",
            "lock_configuration": "true",  # last, as nothing can be set after it
        }
        for name, value in settings.items():
            connection.execute(f"SET {name} = {value}")
        for name, table in self._sources.tables.items():
            connection.register(name, table)
        views = [f"CREATE VIEW {name} AS {select}" for name, select in self._sources.views.items()]
        self.guarded(lambda: connection.execute("; ".join(views)) if views else None)
