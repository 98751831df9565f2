"""Triplets for other trainers: folders that Hugging Face `datasets`, sentence-transformers and spreadsheets open."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.run import DEFAULT_CACHE_GIB
from pipeline.errors import InputError
from pipeline.inspection.export.dataset_card import dataset_card
from pipeline.inspection.export.layouts import Format, Layout
from pipeline.inspection.export.shards import ShardWriter, Suffix
from pipeline.inspection.inspected import Inspected
from pipeline.inspection.query.rows import ROLES, Choice
from pipeline.inspection.query.sql import Rows, Session
from pipeline.progress import stage
from pipeline.storage.object_store import open_store


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        uri: The folder.
        layout: What a row holds.
        generation: Whose triplets they are.
        num_triplets: Rows in all.
        num_shards: Files of rows.
        num_bytes: Of these files.
    """

    uri: str
    layout: Format
    generation: int
    num_triplets: int
    num_shards: int
    num_bytes: int


def export_triplets(
    inspected: Inspected,
    target: str,
    layout: Format,
    choice: Choice,
    limit: int | None = None,
    cache_dir: str | None = None,
    cache_gib: float = DEFAULT_CACHE_GIB,
) -> Export:
    """Writes triplets into an empty folder: shards into ``data/``; last ``README.md``: where it is, all is.

    `datasets`: ``anchor``, ``positive`` and ``negative`` as Hugging Face Image, or as vectors; labels, d_ap, d_an and
    ids. `sentence-transformers`: only the three examples, in this order. `csv`: ids, labels, d_ap, d_an and paths in
    the source. Memory holds a shard, whatever the generation's size.

    Args:
        inspected: The generation.
        target: A local folder or s3://bucket/prefix.
        layout: What a row holds.
        choice: Which triplets, in which order.
        limit: The first so many of them; all by default.
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
    choice.check(inspected.corpus)
    of, number, suffix = (
        Layout(inspected.corpus, layout, cache_dir, cache_gib),
        inspected.manifest.number,
        _suffix(layout),
    )
    with Session.of(inspected) as session, tempfile.TemporaryDirectory(prefix="motherlode-export-") as folder:
        num_triplets = _count(session, choice, limit)
        if not num_triplets:
            raise InputError(f"generation {number} has no such triplet: there is nothing to export")
        rows = _select(session, choice, num_triplets, of)
        writer = ShardWriter(store, Path(folder), of.schema, suffix)
        with stage(f"export generation {number}", num_triplets, "triplets") as done:
            while batch := rows.fetch(of.rows_at_once):
                writer.write(of.table(batch))
                done(len(batch))
        writer.close()
    store.put("README.md", dataset_card(inspected, choice, limit, layout, suffix, num_triplets).encode())
    return Export(store.uri, layout, number, num_triplets, writer.num_shards, writer.num_bytes)


def _count(session: Session, choice: Choice, limit: int | None) -> int:
    where, parameters = choice.where()
    ((num_found,),) = session.run(["triplets"], f"SELECT count(*) FROM triplets {where}", parameters).fetch()
    return int(num_found) if limit is None else min(int(num_found), limit)


def _select(session: Session, choice: Choice, num: int, layout: Layout) -> Rows:
    clauses, parameters = choice.clauses()
    joins = "".join(
        f"LEFT JOIN (SELECT example_id AS {role}_key, path AS {role}_path FROM corpus) ON {role}_key = {role} "
        for role in (ROLES if layout.has_paths else ())
    )
    return session.run(
        ["triplets", "corpus"] if layout.has_paths else ["triplets"],
        f"SELECT {', '.join(layout.selected)} FROM triplets {joins}{clauses} LIMIT $num",
        parameters | {"num": num},
        paths=layout.has_paths,
    )


def _suffix(layout: Format) -> Suffix:
    return "csv" if layout == "csv" else "parquet"
