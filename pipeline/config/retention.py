"""What is kept of a workspace when it is pruned."""

from typing import Annotated

from pydantic import Field

from pipeline.config.base import ConfigPart, PositiveInt


class RetentionConfig(ConfigPart):
    """How much of what was published stays; see ``jobs.prune``."""

    keep_generations: PositiveInt = 3
    """The newest generations of each run; also those that leases and kept checkpoints name, and one before each."""
    keep_checkpoints: PositiveInt = 3
    """The newest checkpoints of each run; also the first, and those that leases and other kept things name."""
    grace_s: Annotated[float, Field(ge=0.0)] = 86_400.0
    """How long parts outlive their manifest, and what nothing names is left alone: longer than a reader that may not
    write leases reads, and than a writer is silent. By the store's clock."""
