"""A corpus with likely label errors, and the generation whose audit found them."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.cli import Answer
from jobs.triplet_commands import suspects
from pipeline.config import CorpusConfig, RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.storage.workspace import Workspace
from pipeline.triplets.neighbours import NeighbourTally
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import QUARANTINE, TRIPLETS, GenerationManifest
from pipeline.triplets.writer import TripletWriter, add_side_tables
from tests.unit.corpus.samples import faces, folder_config, run_prepare, write_folder
from tests.unit.triplets.samples import manifest_of

Found = tuple[int, str | None, float | None]
"""Example id, suggested label and score of a suspect."""

FOUND: Sequence[Found] = ((1, "person_3", 0.5), (7, "person_0", 0.9), (4, "person_2", 0.5), (10, "person_1", None))
"""Of examples 0 to 11, three of each of person_0 to person_3; listed best first these are 7, 1, 4, 10."""


def faces_config(folder: Path, files: Mapping[str, bytes] | None = None) -> CorpusConfig:
    """Parts of five examples; no label is kept for evaluation."""
    return folder_config(write_folder(folder, faces() if files is None else files), examples_per_part=5)


def quarantine(found: Sequence[Found]) -> pa.Table:
    """The suspects, beside an entry of another reason with the highest score."""
    blank: dict[str, Any] = {"other_id": None, "distance": None, "excluded": False, "detail": "d"}
    rows = [
        blank | {"example_id": 0, "reason": "hub", "score": 99.0, "suggested_label": None},
        *(
            blank
            | {"example_id": example_id, "reason": "label_noise_suspect", "score": score, "suggested_label": label}
            for example_id, label, score in found
        ),
    ]
    return pa.Table.from_pylist(rows, schema=QUARANTINE)


def publish_found(
    workspace: Workspace, found: Sequence[Found] = FOUND, number: int = 0, num_audited: int | None = None
) -> GenerationManifest:
    """Publishes an empty generation of the newest corpus, with these suspects."""
    corpus = Corpus.open(workspace)
    transaction = generations(workspace).begin(number)
    writer = TripletWriter(transaction, 100, {})
    writer.write(TRIPLETS.empty_table())
    writer.close()
    add_side_tables(transaction, quarantine(found), NeighbourTally(1).table(["a"], 1))
    counted = {"hub": 1, "label_noise_suspect": len(found) if num_audited is None else num_audited}
    update = {"corpus_fingerprint": corpus.fingerprint, "quarantined": counted}
    manifest = manifest_of(transaction, 0).model_copy(update=update)
    published, ours = transaction.commit(manifest)
    assert ours
    return published


def prepared(place: Path, found: Sequence[Found] = FOUND) -> Workspace:
    """A workspace with the corpus of faces and one generation."""
    workspace = Workspace.open(str(place / "workspace"), "main")
    run_prepare(faces_config(place / "faces"), workspace)
    publish_found(workspace, found)
    return workspace


def command(workspace: Workspace, *arguments: str | Path) -> Answer:
    """Runs ``jobs.triplets suspects`` on a workspace."""
    parser = argparse.ArgumentParser()
    suspects.add_flags(parser)
    config = RunConfig(workspace=workspace.store.uri, run=workspace.run)
    return suspects.run(config, parser.parse_args([str(argument) for argument in arguments]))
