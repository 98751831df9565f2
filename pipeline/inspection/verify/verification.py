"""Verify: is a published generation what its manifest and the corpus say? All of it is looked at before it fails."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.errors import CorruptDataError, InputError
from pipeline.inspection.findings import Findings
from pipeline.inspection.inspected import Inspected
from pipeline.inspection.query.predicates import Examples
from pipeline.inspection.sampling import draw_rows
from pipeline.inspection.triplet_pass import TripletPass, read_table
from pipeline.inspection.verify.stored_vectors import read_vectors, why_no_vectors
from pipeline.mining.verify import TOLERANCE
from pipeline.progress import say
from pipeline.triplets.quarantine import excluded_examples, excluded_pairs
from pipeline.triplets.schema import NEIGHBOURS, QUARANTINE


def verify(inspected: Inspected, num_distances: int | None, seed: int) -> dict[str, Any]:
    """Checks every part and every triplet; distances, which cost most, of all of them or of a sample.

    Args:
        inspected: The generation.
        num_distances: Triplets whose distances are computed again from the stored embeddings; None: all, for which all
            embeddings are held in memory.
        seed: Draws them.

    Returns:
        What was checked, JSON-able: triplets by predicate, and ``distances``, which is None where the embeddings are
        not to be had (``distances_unchecked`` says why).

    Raises:
        CorruptDataError: A part is not what was published, or predicates do not hold: one sentence says how many
            triplets break each, and which is the first.
        InputError: The generation was removed meanwhile, or all distances are wanted and cannot be computed.
    """
    start, manifest, findings = time.perf_counter(), inspected.manifest, Findings()
    examples = _check_side_tables(inspected, findings)
    num_listed = sum(part.num_rows for part in manifest.parts_of("triplets"))
    unchecked = why_no_vectors(inspected)
    if unchecked is not None and num_distances is None:
        raise InputError(
            f"the distances of generation {manifest.number} cannot all be computed again: {unchecked}; verify without "
            "--all checks the rest"
        )
    if unchecked is not None:
        say(f"warning: the distances of generation {manifest.number} are not checked: {unchecked}")
        num_distances = 0
    if num_distances is None:
        found = TripletPass(inspected, examples, findings, vectors_ND=read_vectors(inspected))
    else:
        found = TripletPass(inspected, examples, findings, draw_rows(num_listed, num_distances, seed, manifest.number))
    found.run()
    if problems := findings.sentence():
        key = f"{inspected.workspace.generations_prefix}/manifests/{manifest.number:09d}.json"
        raise CorruptDataError(
            f"generation {manifest.number} in {inspected.workspace.store.uri} does not hold: {problems}: do not "
            f"train on it; restore it from a copy, or remove {key!r} and run jobs.mine again"
        )
    distances = {
        "num_triplets": found.num_distances,
        "largest_difference": found.largest_difference,
        "tolerance": TOLERANCE,
    }
    return {
        "run": inspected.workspace.run,
        "generation": manifest.number,
        "num_triplets": found.num_triplets,
        "num_parts": len(manifest.parts),
        "num_bytes": sum(part.num_bytes for part in manifest.parts),
        "checked": findings.num_checked(),
        "distances": distances if unchecked is None else None,
        "distances_unchecked": unchecked,
        "seconds": time.perf_counter() - start,
        "check_seconds": found.check_s,
    }


def show_verification(report: Mapping[str, Any]) -> list[RenderableType]:
    """What ``verify`` gave, as people read it."""
    lines = [
        f"generation {report['generation']} of run {report['run']} holds: {report['num_triplets']:,} triplets, "
        f"{report['num_parts']} parts of {report['num_bytes']:,} bytes, {report['seconds']:.1f} s (the corpus's own "
        "parts are not read)"
    ]
    if (distances := report["distances"]) is None:
        lines.append(f"distances were not checked: {report['distances_unchecked']}")
    else:
        lines.append(
            f"distances of {distances['num_triplets']:,} triplets computed again: they differ by at most "
            f"{distances['largest_difference']:.1e}"
        )
    table = Table(box=box.SIMPLE)
    table.add_column("holds")
    table.add_column("of", justify="right")
    for name, num in report["checked"].items():
        table.add_row(Text(name), f"{num:,}")
    return [*lines, table]


def _check_side_tables(inspected: Inspected, findings: Findings) -> Examples:
    """Looks at the quarantine and the neighbours; says what mining was to do without."""
    generation, corpus = inspected.generation, inspected.corpus
    examples = Examples.of(corpus.labels, corpus.is_test)
    tables: dict[str, pa.Table | None] = {}
    for role, read, schema in (
        ("quarantine", generation.quarantine, QUARANTINE),
        ("neighbours", generation.neighbours, NEIGHBOURS),
    ):
        table = tables[role] = read_table(read, f"the part {role!r}", schema, findings)
        promised = inspected.manifest.parts_of(role)[0].num_rows
        if table is not None and len(table) != promised:
            findings.state(f"the part {role!r} has {len(table):,} rows where the manifest promises {promised:,}")
    if (quarantine := tables["quarantine"]) is None:
        return examples
    excluded, pairs_P2 = excluded_examples(quarantine), excluded_pairs(quarantine)
    known, known_P = (_in_corpus(ids, corpus.num_examples) for ids in (excluded[:, None], pairs_P2))
    if num_unknown := np.count_nonzero(~known) + np.count_nonzero(~known_P):
        findings.state(f"the quarantine names {num_unknown:,} example(s) that are not in the corpus")
    return examples.without(excluded[known], pairs_P2[known_P])


def _in_corpus(ids_R: npt.NDArray[np.int64], num_examples: int) -> npt.NDArray[np.bool_]:
    """Which rows of ids are all in the corpus."""
    inside: npt.NDArray[np.bool_] = np.asarray(((ids_R >= 0) & (ids_R < num_examples)).all(axis=1))
    return inside
