"""What is looked into: a generation, with the corpus that its ids are of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import CorpusManifest
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import InputError
from pipeline.storage.publish import Publication
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import GenerationManifest


@dataclass(frozen=True)
class Inspected:
    """One generation, opened to be looked into.

    Attributes:
        workspace: Where it lies.
        generation: Its triplets, quarantine and manifest.
        corpus: What its ids mean.
    """

    workspace: Workspace
    generation: Generation
    corpus: Corpus

    @property
    def manifest(self) -> GenerationManifest:
        """The generation's."""
        return self.generation.manifest

    @cached_property
    def checkpoint(self) -> CheckpointManifest:
        """The checkpoint that it was mined from.

        Raises:
            InputError: It was removed.
        """
        return checkpoints(self.workspace).read(self.manifest.checkpoint_step)

    @cached_property
    def label_names(self) -> npt.NDArray[np.object_]:
        """Names by label code, as an array that codes can index."""
        return np.asarray(self.corpus.label_names, dtype=object)


def open_generation(workspace: Workspace, number: int | None = None) -> Inspected:
    """Opens a generation and its corpus.

    Args:
        workspace: Of its run.
        number: Which one; the newest by default.

    Raises:
        InputError: There is none, or not that one, or its corpus is gone.
    """
    publication = generations(workspace)
    manifest = publication.latest() if number is None else publication.read(number)
    if manifest is None:
        raise InputError(
            f"run {workspace.run!r} in {workspace.store.uri} has no generation yet: run jobs.mine or jobs.loop first"
        )
    return Inspected(workspace, Generation(publication, manifest), corpus_of(workspace, manifest))


def corpus_of(workspace: Workspace, manifest: GenerationManifest) -> Corpus:
    """The corpus that a generation was mined from.

    Raises:
        InputError: The workspace has it no more.
    """
    publication = Publication(workspace.store, workspace.corpus_prefix, CorpusManifest)
    for number in reversed(publication.numbers()):
        if publication.read(number).fingerprint == manifest.corpus_fingerprint:
            return Corpus.open(workspace, number)
    raise InputError(
        f"generation {manifest.number} was mined from a corpus that is not in {workspace.store.uri} any more: its ids "
        "mean nothing without it; restore that corpus, or mine again"
    )
