"""The layout of a workspace: every prefix and key in one place."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pipeline.errors import UnavailableError
from pipeline.storage.object_store import PROBE_PREFIX, ObjectStore, open_store, probe


@dataclass(frozen=True)
class Workspace:
    """One store, and the training run in it that a job works on.

    Attributes:
        store: Holds the bytes.
        run: Name of the training run; runs in one workspace share the corpus and the embeddings.
    """

    store: ObjectStore
    run: str

    @classmethod
    def open(cls, uri: str, run: str) -> Self:
        """Opens a local folder or ``s3://bucket/prefix``; raises InputError for any other URI."""
        return cls(open_store(uri), run)

    @property
    def corpus_prefix(self) -> str:
        """The versioned dataset of corpora."""
        return "corpus"

    @property
    def checkpoints_prefix(self) -> str:
        """The versioned dataset of the run's checkpoints."""
        return f"runs/{self.run}/checkpoints"

    @property
    def generations_prefix(self) -> str:
        """The versioned dataset of the run's generations."""
        return f"runs/{self.run}/generations"

    def embeddings_prefix(self, key: str) -> str:
        """The embeddings with this cache key."""
        return f"embeddings/{key}"

    def evaluation_prefix(self, step: int) -> str:
        """The evaluation of the checkpoint at ``step``."""
        return f"runs/{self.run}/evaluation/{step:09d}"

    def export_prefix(self, step: int) -> str:
        """The exported embeddings of the checkpoint at ``step``."""
        return f"runs/{self.run}/exports/{step:09d}"

    @property
    def report_key(self) -> str:
        """The run's HTML report; a newer one replaces it."""
        return f"runs/{self.run}/report.html"

    def refusal_key(self, step: int) -> str:
        """Why the audit refused to publish a generation of the checkpoint at ``step``."""
        return f"{self.refusals_prefix}/{step:09d}.json"

    @property
    def refusals_prefix(self) -> str:
        """The refusals of the run's checkpoints."""
        return f"runs/{self.run}/refusals"

    def uri_of(self, key: str) -> str:
        """Where an object or a folder is, as a person writes it."""
        return f"{self.store.uri.rstrip('/')}/{key}"

    def put_json(self, key: str, document: Mapping[str, Any]) -> None:
        """Stores a document as indented JSON; raises ValueError for NaN and infinity, which JSON does not know."""
        self.store.put(key, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())

    def check_writable(self) -> None:
        """Writes, reads and deletes a small object, and probes conditional creates; call before work starts.

        Raises:
            InputError: The workspace is unusable: no folder, no bucket, no right to write, bad credentials.
            UnavailableError: The store cannot be reached, is full, returns other bytes than were put, or accepts
                a second conditional create.
        """
        key, data = f"{PROBE_PREFIX}/write-{uuid.uuid4().hex}", b"motherlode"
        self.store.put(key, data)
        returned = self.store.get(key)
        self.store.delete(key)
        if returned != data:
            raise UnavailableError(f"workspace {self.store.uri} returns other bytes than were put: check the store")
        probe(self.store)
