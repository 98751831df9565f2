"""Exports triplets for other trainers: Hugging Face `datasets`, sentence-transformers, spreadsheets."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.run import DEFAULT_CACHE_GIB
from pipeline.errors import InputError
from pipeline.inspection.export.dataset_card import dataset_card
from pipeline.inspection.export.layouts import SUFFIXES, Format, Layout
from pipeline.inspection.export.shards import ShardWriter
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.rows import ROLES, TripletQuery
from pipeline.inspection.query.sql import QueryResult, SqlSession
from pipeline.progress import stage
from pipeline.storage.object_store import open_store


@dataclass(frozen=True)
class ExportedTriplets:
    """An export that was written; the bytes are those of its shards."""

    uri: str
    layout: Format
    generation: int
    num_triplets: int
    num_shards: int
    num_bytes: int


def export_triplets(
    generation: OpenGeneration,
    target: str,
    layout: Format,
    query: TripletQuery,
    cache_dir: str | None = None,
    cache_gib: float = DEFAULT_CACHE_GIB,
) -> ExportedTriplets:
    """Writes triplets into an empty folder: shards into ``data/``, and last ``README.md``, which marks a whole export.

    `datasets`: ``anchor``, ``positive`` and ``negative`` as Hugging Face Image, or as vectors; labels, d_ap, d_an and
    ids. `sentence-transformers`: only the three examples, in this order. `csv`: ids, labels, d_ap, d_an and paths in
    the source. Memory holds a shard, whatever the generation's size.

    Args:
        generation: The generation.
        target: A local folder or s3://bucket/prefix.
        layout: Of a row.
        query: Which triplets, in which order, and how many.
        cache_dir: Local folder for copies of the corpus; see ``ExampleCache``.
        cache_gib: What it may hold.

    Raises:
        InputError: The target is not empty or cannot be written, or there is no such triplet.
        CorruptDataError: A part is not what was published.
        UnavailableError: The target or temporary files have no room.
    """
    store = open_store(target)
    if store.list(""):
        raise InputError(
            f"{store.uri} is not empty: name a folder that is, as its files and the new ones would mix (an export "
            "without its README.md was broken off, and may be deleted)"
        )
    query.check(generation.corpus)
    row_layout = Layout(generation.corpus, layout, cache_dir, cache_gib)
    number, suffix = generation.manifest.number, SUFFIXES[layout]
    with SqlSession.of(generation) as session, tempfile.TemporaryDirectory(prefix="motherlode-export-") as folder:
        num_triplets = _count(session, query)
        if not num_triplets:
            raise InputError(f"generation {number} has no such triplet: there is nothing to export")
        rows = _select(session, replace(query, limit=num_triplets), row_layout)
        writer = ShardWriter(store, Path(folder), row_layout.schema, suffix)
        with stage(f"export generation {number}", num_triplets, "triplets") as advance:
            while batch := rows.fetch(row_layout.rows_at_once):
                writer.write(row_layout.table(batch))
                advance(len(batch))
        writer.close()
    store.put("README.md", dataset_card(generation, query, layout, suffix, num_triplets).encode())
    return ExportedTriplets(store.uri, layout, number, num_triplets, writer.num_shards, writer.num_bytes)


def _count(session: SqlSession, query: TripletQuery) -> int:
    where, parameters = query.where()
    ((num_found,),) = session.run(["triplets"], f"SELECT count(*) FROM triplets {where}", parameters).fetch()
    return int(num_found) if query.limit is None else min(int(num_found), query.limit)


def _select(session: SqlSession, query: TripletQuery, layout: Layout) -> QueryResult:
    clauses, parameters = query.clauses()
    joins = "".join(
        f"LEFT JOIN (SELECT example_id AS {role}_key, path AS {role}_path FROM corpus) ON {role}_key = {role} "
        for role in (ROLES if layout.has_paths else ())
    )
    return session.run(
        ["triplets", "corpus"] if layout.has_paths else ["triplets"],
        f"SELECT {', '.join(layout.selected)} FROM triplets {joins}{clauses}",
        parameters,
        paths=layout.has_paths,
    )
