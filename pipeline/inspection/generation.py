"""A published generation, opened with its corpus to be inspected."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.corpus.reader import Corpus
from pipeline.corpus.schema import corpora
from pipeline.encoders.checkpoints import CheckpointManifest, checkpoints
from pipeline.errors import InputError
from pipeline.storage.workspace import Workspace
from pipeline.triplets.reader import Generation, generations
from pipeline.triplets.schema import GenerationManifest


@dataclass(frozen=True)
class OpenGeneration:
    """A generation with its corpus.

    Attributes:
        workspace: Of its run.
        reader: Reads its triplets, its quarantine and its neighbours.
        corpus: The corpus that it was mined from.
    """

    workspace: Workspace
    reader: Generation
    corpus: Corpus

    @property
    def manifest(self) -> GenerationManifest:
        """The generation's."""
        return self.reader.manifest

    @cached_property
    def checkpoint(self) -> CheckpointManifest:
        """The checkpoint that it was mined from.

        Raises:
            InputError: It was removed.
        """
        return checkpoints(self.workspace).read(self.manifest.checkpoint_step)

    @cached_property
    def label_names(self) -> npt.NDArray[np.object_]:
        """Label names by code, as an array that codes can index."""
        return np.asarray(self.corpus.label_names, dtype=object)


def open_generation(workspace: Workspace, number: int | None = None) -> OpenGeneration:
    """Opens a generation and its corpus.

    Args:
        workspace: Of its run.
        number: Which one; the newest by default.

    Raises:
        InputError: There is none, or not that one, or its corpus is gone.
    """
    dataset = generations(workspace)
    numbers = dataset.numbers()
    if not numbers:
        reason = _missing_reason(workspace)
        raise InputError(f"{reason}: check --workspace and --run, or run jobs.mine or jobs.loop first")
    if number is not None and number not in numbers:
        raise InputError(f"run {workspace.run!r} has no generation {number}: choose one of {numbers}")
    manifest = dataset.read(numbers[-1] if number is None else number)
    return OpenGeneration(workspace, Generation(dataset, manifest), corpus_of(workspace, manifest))


def _missing_reason(workspace: Workspace) -> str:
    """Why there is no generation."""
    keys = workspace.store.list("runs")
    runs = sorted({key.split("/")[1] for key in keys if "/generations/manifests/" in key})
    if runs:
        return f"run {workspace.run!r} in {workspace.store.uri} has no generation, but run(s) {', '.join(runs)} have"
    if not workspace.store.list(f"{workspace.corpus_prefix}/manifests"):
        return f"{workspace.store.uri} is no workspace, or an empty one: it holds no corpus"
    return f"run {workspace.run!r} in {workspace.store.uri} has no generation yet"


def corpus_of(workspace: Workspace, manifest: GenerationManifest) -> Corpus:
    """The corpus that a generation was mined from.

    Raises:
        InputError: The workspace has it no more.
    """
    for corpus in corpora(workspace).newest_first():
        if corpus.fingerprint == manifest.corpus_fingerprint:
            return Corpus.open(workspace, corpus.number)
    raise InputError(
        f"generation {manifest.number} was mined from a corpus that is not in {workspace.store.uri} any more: its ids "
        "mean nothing without it; restore that corpus, or mine again"
    )
