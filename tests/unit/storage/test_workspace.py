from pathlib import Path

import pytest

from pipeline.errors import UnavailableError
from pipeline.storage.local_store import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.workspace import Workspace
from tests.unit.storage.test_object_store import Overwriting


def test_the_prefixes_of_a_workspace(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path), "main")
    assert workspace.store.uri == str(tmp_path)
    assert workspace.corpus_prefix == "corpus"
    assert workspace.checkpoints_prefix == "runs/main/checkpoints"
    assert workspace.generations_prefix == "runs/main/generations"
    assert workspace.embeddings_prefix("key") == "embeddings/key"
    assert workspace.evaluation_prefix(300) == "runs/main/evaluation/000000300"
    assert workspace.uri_of("corpus") == f"{tmp_path}/corpus"


def test_a_document_with_a_number_that_json_does_not_know_is_not_stored(tmp_path: Path) -> None:
    workspace = Workspace.open(str(tmp_path), "main")
    workspace.put_json("a.json", {"share": 0.5})
    assert workspace.store.get("a.json") == b'{\n  "share": 0.5\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        workspace.put_json("b.json", {"share": float("nan")})


def test_a_workspace_that_works_passes_the_check_and_stays_empty(store: ObjectStore) -> None:
    Workspace(store, "main").check_writable()
    assert store.list("") == []


class _Forgetful(LocalStore):
    def get(self, key: str) -> bytes:
        return b"something else"


@pytest.mark.parametrize("kind", [_Forgetful, Overwriting])
def test_a_store_that_breaks_the_contract_is_refused(kind: type[LocalStore], tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        Workspace(kind(tmp_path), "main").check_writable()
