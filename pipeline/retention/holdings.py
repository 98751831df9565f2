"""What a workspace holds: its datasets, all manifests that stand in them, and all objects."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipeline.corpus.schema import LABELS, CorpusManifest
from pipeline.encoders.checkpoints import STEPS, CheckpointManifest, checkpoints
from pipeline.storage.leases import list_leases
from pipeline.storage.object_store import Entry
from pipeline.storage.publish import VersionedDataset
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import generations
from pipeline.triplets.schema import GenerationManifest


@dataclass(frozen=True)
class Pins:
    """What leases keep.

    Attributes:
        keys: Of manifests; of folders, with a slash at the end.
    """

    keys: frozenset[str]

    def __contains__(self, key: str) -> bool:
        return key in self.keys or any(key.startswith(pin) for pin in self.keys if pin.endswith("/"))


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        checkpoints: Standing manifests by number.
        generations: Likewise.
    """

    checkpoints: Mapping[int, CheckpointManifest]
    generations: Mapping[int, GenerationManifest]


@dataclass(frozen=True)
class Holdings:
    """A workspace at one time, in the order that makes it safe to prune by it.

    Objects are listed first, then leases, then manifests. So a writer's parts that were seen belong to a lease that
    was seen, or to a manifest that was; and who read a manifest that was gone at the first look holds a lease by the
    second.

    Attributes:
        workspace: Its store; the run does not matter.
        entries: All objects, by key.
        pins: Of the leases in force.
        corpora: Standing manifests by number.
        runs: By name.
    """

    workspace: Workspace
    entries: Mapping[str, Entry]
    pins: Pins
    corpora: Mapping[int, CorpusManifest]
    runs: Mapping[str, Run]

    @classmethod
    def read(cls, workspace: Workspace) -> Self:
        """Looks at everything.

        Raises:
            CorruptDataError: A manifest cannot be read, so that nobody knows what it needs.
        """
        store = workspace.store
        entries = {entry.key: entry for entry in store.entries("")}
        pins = Pins(frozenset(pin for lease in list_leases(store) for pin in lease.record.pins))
        names = sorted({key.split("/")[1] for key in entries if key.startswith("runs/")})
        runs = {}
        for name in names:
            place = Workspace(store, name)
            runs[name] = Run(_standing(checkpoints(place)), _standing(generations(place)))
        return cls(workspace, entries, pins, _standing(corpora(workspace)), runs)

    def datasets(self) -> Iterator[tuple[VersionedDataset[Any], Mapping[int, Any], frozenset[str]]]:
        """Every dataset, its standing manifests, and the roles of the parts that outlast them, as history."""
        store = self.workspace.store
        yield corpora(self.workspace), self.corpora, frozenset({LABELS})
        for name, run in self.runs.items():
            place = Workspace(store, name)
            yield checkpoints(place), run.checkpoints, frozenset({STEPS})
            yield generations(place), run.generations, frozenset()

    def below(self, prefix: str) -> list[Entry]:
        """The objects in a folder."""
        return [entry for key, entry in self.entries.items() if key.startswith(prefix)]


def corpora(workspace: Workspace) -> VersionedDataset[CorpusManifest]:
    """The workspace's corpora."""
    return VersionedDataset(workspace.store, workspace.corpus_prefix, CorpusManifest)


def _standing(dataset: VersionedDataset[Any]) -> dict[int, Any]:
    return {manifest.number: manifest for manifest in dataset.newest_first()}


def newest(numbers: Mapping[int, object], count: int) -> Sequence[int]:
    """The highest numbers."""
    return sorted(numbers)[-count:]
