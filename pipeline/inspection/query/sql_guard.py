"""The guard of users' SQL: it admits a single SELECT over the views, and nothing that could write or read files.

DuckDB's own settings are not enough: they take a COPY within a WITH for a part of a SELECT, and it may overwrite any
file that may be read. So the statement's syntax tree is checked, and every node that is not known to be harmless is
refused.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import duckdb

from pipeline.errors import InputError

VIEWS = ("triplets", "corpus", "quarantine", "generations", "checkpoints")

_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_TABLE_FUNCTIONS = {"range", "generate_series", "unnest"}


def referenced_views(statement: str) -> set[str]:
    """The views that a statement reads.

    Raises:
        InputError: It is not a single SELECT (or DESCRIBE, or SUMMARIZE) over views and values alone.
    """
    nodes = list(_nodes(_parse(statement)))
    for node in nodes:
        _check(node)
    # Views may be written in any case. A view whose name a WITH redefines is opened needlessly, which does no harm.
    names = {str(node["table_name"]).lower() for node in nodes if node.get("type") == "BASE_TABLE"}
    defined = {str(entry["key"]).lower() for node in nodes if "cte_map" in node for entry in node["cte_map"]["map"]}
    unknown = sorted(names.difference(VIEWS, defined))
    if unknown:
        raise _refusal(f"there is no view {unknown[0]!r}")
    return names.intersection(VIEWS)


def to_input_error(error: duckdb.Error) -> InputError:
    """DuckDB's error about a statement as an InputError."""
    # Its messages begin with a class, and end with the place and a caret below it.
    message = " ".join(str(error).partition("\nLINE ")[0].split())
    return _refusal(message.partition(" Error: ")[2] or message)


def _parse(statement: str) -> object:
    """The syntax tree of the single query that the statement must be."""
    try:
        statement.encode()
    except UnicodeEncodeError:
        raise _refusal("the statement is not in UTF-8") from None
    with closing(duckdb.connect()) as connection:
        serialised = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [statement]).fetchall()[0][0]
    document = json.loads(serialised)
    if document["error"]:
        is_syntax = document["error_type"] in {"parser", "syntax"}
        reason = document["error_message"] if is_syntax else "only SELECT, DESCRIBE and SUMMARIZE are run"
        raise _refusal(reason)
    if len(document["statements"]) != 1:
        raise _refusal(f"one statement is run at a time, not {len(document['statements'])}")
    return document["statements"][0]["node"]


def _check(node: dict[str, Any]) -> None:
    """Refuses a node that is not known to be harmless."""
    kind = str(node.get("type"))
    if kind.endswith("_NODE") and kind not in _QUERIES:
        raise _refusal("nothing is written, not within a WITH either")
    if kind == "TABLE_FUNCTION" and node["function"]["function_name"] not in _TABLE_FUNCTIONS:
        raise _refusal(f"{node['function']['function_name']}() reads what is no view")
    if kind == "SHOW_REF" and node["table_name"]:
        raise _refusal("SHOW is not run: write DESCRIBE and the name of a view")


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for child in children:
        yield from _nodes(child)


def _refusal(reason: str) -> InputError:
    return InputError(f"SQL: {reason.rstrip('.!')}; the views are {', '.join(VIEWS)}")
