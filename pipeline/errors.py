"""Every error that a user can meet: what is wrong, where, and what to do, in one sentence.

The class of an error decides the exit code of a job, so that a scheduler can tell a typing mistake from an
outage without reading a log.
"""


class PipelineError(Exception):
    """A failure that was foreseen. Its text is one sentence for a person.

    Attributes:
        exit_code: What a job that ends with this error returns to the shell.
    """

    exit_code = 1


class InputError(PipelineError):
    """The config, the command line, the corpus or a checkpoint is not what the job needs."""

    exit_code = 2


class AuditRefusedError(PipelineError):
    """What was computed must not be published or trained on; what was published before stays in force.

    Attributes:
        figures: What was measured, by name, for the record.
    """

    exit_code = 3

    def __init__(self, message: str, **figures: float) -> None:
        super().__init__(message)
        self.figures = figures


class UnavailableError(PipelineError):
    """Storage or the cluster cannot be reached, or cannot give what was asked of it."""

    exit_code = 4


class CorruptDataError(UnavailableError):
    """Stored bytes are not the bytes that their manifest promises."""
