"""The snapshot of a workspace that a prune decides by: all objects, the pins of leases, and the manifests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipeline.corpus.schema import LABELS, CorpusManifest, corpora
from pipeline.encoders.checkpoints import STEPS, CheckpointManifest, checkpoints
from pipeline.storage.leases import list_leases
from pipeline.storage.object_store import Entry
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest


@dataclass(frozen=True)
class Pins:
    """What the active leases pin.

    Attributes:
        keys: Keys of manifests, and folders, which end with a slash.
    """

    keys: frozenset[str]

    def __contains__(self, key: str) -> bool:
        return key in self.keys or any(key.startswith(pin) for pin in self.keys if pin.endswith("/"))


@dataclass(frozen=True)
class Run:
    """The published versions of one training run.

    Attributes:
        checkpoints: Manifests by number.
        generations: Manifests by number.
    """

    checkpoints: Mapping[int, CheckpointManifest]
    generations: Mapping[int, GenerationManifest]


@dataclass(frozen=True)
class Snapshot:
    """A workspace at one time, read in the order that makes it safe to prune by it.

    Objects are listed first, then leases, then manifests. So the parts of a writer that are in the snapshot belong to
    a lease or to a manifest that is in it too; and a reader whose manifest was pruned before the snapshot was taken
    holds a lease by the time that leases are listed.

    Attributes:
        workspace: Holds the store; its run does not matter.
        entries: All objects, by key.
        pins: What the active leases pin.
        corpora: Manifests of the corpora by number.
        runs: The training runs by name.
    """

    workspace: Workspace
    entries: Mapping[str, Entry]
    pins: Pins
    corpora: Mapping[int, CorpusManifest]
    runs: Mapping[str, Run]

    @classmethod
    def take(cls, workspace: Workspace) -> Self:
        """Lists all objects and leases, and reads all manifests.

        Raises:
            CorruptDataError: A manifest cannot be read, so that nobody knows what it needs.
        """
        store = workspace.store
        entries = {entry.key: entry for entry in store.entries("")}
        pins = Pins(frozenset(pin for lease in list_leases(store) for pin in lease.record.pins))
        runs = {}
        for name in sorted({key.split("/")[1] for key in entries if key.startswith("runs/")}):
            run = Workspace(store, name)
            runs[name] = Run(_manifests(checkpoints(run)), _manifests(generations(run)))
        return cls(workspace, entries, pins, _manifests(corpora(workspace)), runs)

    def datasets(self) -> Iterator[tuple[VersionedDataset[Any], Mapping[int, Any], frozenset[str]]]:
        """Yields every dataset, its manifests, and the roles of the parts that stay, as history, with a tombstone."""
        yield corpora(self.workspace), self.corpora, frozenset({LABELS})
        for name, manifests in self.runs.items():
            run = Workspace(self.workspace.store, name)
            yield checkpoints(run), manifests.checkpoints, frozenset({STEPS})
            yield generations(run), manifests.generations, frozenset()

    def below(self, prefix: str) -> list[Entry]:
        """Returns the objects in a folder."""
        return [entry for key, entry in self.entries.items() if key.startswith(prefix)]


def _manifests(dataset: VersionedDataset[Any]) -> dict[int, Any]:
    return {manifest.number: manifest for manifest in dataset.newest_first()}


def newest(numbers: Mapping[int, object], count: int) -> Sequence[int]:
    """Returns the highest numbers."""
    return sorted(numbers)[-count:]
