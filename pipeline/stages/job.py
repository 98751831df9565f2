"""A job: what every stage works with."""

from dataclasses import dataclass, replace
from typing import Self

from pipeline.config import RunConfig
from pipeline.corpus.reader import Corpus
from pipeline.storage.workspace import Workspace


@dataclass(frozen=True)
class Job:
    """One run of a command.

    Attributes:
        config: The run.
        workspace: Where it reads and writes.
        corpus: The corpus that it is pinned to.
    """

    config: RunConfig
    workspace: Workspace
    corpus: Corpus

    @classmethod
    def open(cls, config: RunConfig) -> Self:
        """Opens the run's workspace, and its newest corpus.

        Raises:
            InputError: There is no corpus.
        """
        workspace = Workspace.open(config.workspace, config.run)
        return cls(config, workspace, Corpus.open(workspace))

    def of_run(self, run: str) -> Self:
        """The same in another run of the workspace."""
        return replace(self, workspace=Workspace(self.workspace.store, run))

    def with_config(self, config: RunConfig) -> Self:
        """The same with another config."""
        return replace(self, config=config)
