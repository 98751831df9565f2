"""A corpus with likely label errors, and the generation whose audit found them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.cli import Answer
from jobs.triplet_commands import suspects
from pipeline.config import CorpusConfig, RunConfig
from pipeline.storage.workspace import Workspace
from pipeline.triplets.schema import TRIPLETS
from tests.unit.corpus.samples import faces, folder_config, run_prepare, write_folder
from tests.unit.inspection.answers import answer_of
from tests.unit.inspection.report_samples import noise_suspect, publish_generation

Found = tuple[int, str | None, float | None]
"""Example id, suggested label and score of a suspect."""

FOUND: Sequence[Found] = ((1, "person_3", 0.5), (7, "person_0", 0.9), (4, "person_2", 0.5), (10, "person_1", None))
"""Of examples 0 to 11, three of each of person_0 to person_3; listed best first these are 7, 1, 4, 10."""


def faces_config(folder: Path, files: Mapping[str, bytes] | None = None) -> CorpusConfig:
    """Parts of five examples; no label is kept for evaluation."""
    return folder_config(write_folder(folder, faces() if files is None else files), examples_per_part=5)


def publish_found(
    workspace: Workspace, found: Sequence[Found] = FOUND, number: int = 0, num_audited: int | None = None
) -> None:
    """Publishes an empty generation of the newest corpus: the suspects, beside a hub with the highest score."""
    rows = [{"example_id": 0, "reason": "hub", "score": 99.0, "excluded": False, "detail": "d"}] + [
        noise_suspect(example_id, score, label) for example_id, label, score in found
    ]
    counted = {"hub": 1, "label_noise_suspect": len(found) if num_audited is None else num_audited}
    publish_generation(workspace, number, TRIPLETS.empty_table(), rows, quarantined=counted)


def prepared(
    place: Path,
    found: Sequence[Found] = FOUND,
    files: Mapping[str, bytes] | None = None,
    uri: str | None = None,
) -> Workspace:
    """A workspace with the corpus of faces, or other files, and one generation."""
    workspace = Workspace.open(uri or str(place / "workspace"), "main")
    run_prepare(faces_config(place / "faces", files), workspace)
    publish_found(workspace, found)
    return workspace


def command(workspace: Workspace, *arguments: str | Path) -> Answer:
    """Runs ``jobs.triplets suspects`` on a workspace."""
    return answer_of(suspects, RunConfig(workspace=workspace.store.uri, run=workspace.run), *arguments)
