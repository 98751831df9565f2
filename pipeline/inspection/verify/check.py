"""Checks that a published generation is what its manifest and its corpus say; reports all problems at once."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich import box
from rich.console import RenderableType

from pipeline.errors import CorruptDataError, InputError
from pipeline.inspection.findings import Findings
from pipeline.inspection.generation import OpenGeneration
from pipeline.inspection.query.predicates import Eligibility
from pipeline.inspection.sampling import sample_rows
from pipeline.inspection.tables import text_table
from pipeline.inspection.triplet_pass import TripletPass, read_table
from pipeline.inspection.verify.stored_vectors import read_vectors, vectors_unavailable_reason
from pipeline.mining.verify import TOLERANCE
from pipeline.progress import log
from pipeline.triplets.quarantine import excluded_examples, excluded_pairs
from pipeline.triplets.schema import NEIGHBOURS, QUARANTINE


def verify_generation(generation: OpenGeneration, num_distances: int | None, seed: int) -> dict[str, Any]:
    """Checks every part and every triplet; distances, which cost most, of all of them or of a sample.

    Args:
        generation: The generation.
        num_distances: Triplets whose distances are computed again from the stored embeddings; None: all, for which all
            embeddings are held in memory.
        seed: Samples them.

    Returns:
        A JSON-able report: number of checked triplets by predicate, and ``distances``, which is None where the
        embeddings are not stored (``distances_unchecked`` says why).

    Raises:
        CorruptDataError: A part is not what was published, or predicates do not hold: the message says how many
            triplets break each, and which is the first.
        InputError: The generation was removed meanwhile, or all distances are requested and cannot be computed.
    """
    start, manifest, findings = time.perf_counter(), generation.manifest, Findings()
    eligibility = _check_side_tables(generation, findings)
    num_listed = sum(part.num_rows for part in manifest.parts_of("triplets"))
    unchecked = vectors_unavailable_reason(generation)
    if unchecked is not None and num_distances is None:
        raise InputError(
            f"the distances of generation {manifest.number} cannot all be computed again: {unchecked}; verify without "
            "--all checks the rest"
        )
    if unchecked is not None:
        log(f"warning: the distances of generation {manifest.number} are not checked: {unchecked}")
        num_distances = 0
    if num_distances is None:
        triplet_pass = TripletPass(generation, eligibility, findings, vectors_ND=read_vectors(generation))
    else:
        sampled = sample_rows(num_listed, num_distances, seed, manifest.number)
        triplet_pass = TripletPass(generation, eligibility, findings, sampled)
    triplet_pass.run()
    if problems := findings.summary():
        key = f"{generation.workspace.generations_prefix}/manifests/{manifest.number:09d}.json"
        raise CorruptDataError(
            f"generation {manifest.number} in {generation.workspace.store.uri} does not hold: {problems}: do not "
            f"train on it; restore it from a copy, or remove {key!r} and run jobs.mine again"
        )
    distances = {
        "num_triplets": triplet_pass.num_distances,
        "largest_difference": triplet_pass.largest_difference,
        "tolerance": TOLERANCE,
    }
    return {
        "run": generation.workspace.run,
        "generation": manifest.number,
        "num_triplets": triplet_pass.num_triplets,
        "num_parts": len(manifest.parts),
        "num_bytes": sum(part.num_bytes for part in manifest.parts),
        "checked": findings.num_checked(),
        "distances": distances if unchecked is None else None,
        "distances_unchecked": unchecked,
        "seconds": time.perf_counter() - start,
        "check_seconds": triplet_pass.check_s,
    }


def format_check(report: Mapping[str, Any]) -> list[RenderableType]:
    """The report of ``verify_generation`` as text and a table."""
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
    rows = [(name, f"{num:,}") for name, num in report["checked"].items()]
    return [*lines, text_table("", ("holds", "of"), rows, right=("of",), frame=box.SIMPLE)]


def _check_side_tables(generation: OpenGeneration, findings: Findings) -> Eligibility:
    """Checks the quarantine and the neighbours; returns which examples may be in which triplets."""
    reader, corpus = generation.reader, generation.corpus
    eligibility = Eligibility.of(corpus.labels, corpus.is_test)
    tables: dict[str, pa.Table | None] = {}
    for role, read, schema in (
        ("quarantine", reader.quarantine, QUARANTINE),
        ("neighbours", reader.neighbours, NEIGHBOURS),
    ):
        table = tables[role] = read_table(read, f"the part {role!r}", schema, findings)
        promised = generation.manifest.parts_of(role)[0].num_rows
        if table is not None and len(table) != promised:
            findings.add_problem(f"the part {role!r} has {len(table):,} rows where the manifest promises {promised:,}")
    if (quarantine := tables["quarantine"]) is None:
        return eligibility
    excluded, pairs_P2 = excluded_examples(quarantine), excluded_pairs(quarantine)
    known, known_P = (_in_corpus(ids, corpus.num_examples) for ids in (excluded[:, None], pairs_P2))
    if num_unknown := np.count_nonzero(~known) + np.count_nonzero(~known_P):
        findings.add_problem(f"the quarantine names {num_unknown:,} example(s) that are not in the corpus")
    return eligibility.without(excluded[known], pairs_P2[known_P])


def _in_corpus(ids_R: npt.NDArray[np.int64], num_examples: int) -> npt.NDArray[np.bool_]:
    """Which rows of ids are all in the corpus."""
    inside: npt.NDArray[np.bool_] = np.asarray(((ids_R >= 0) & (ids_R < num_examples)).all(axis=1))
    return inside
