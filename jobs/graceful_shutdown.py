"""Stop: SIGTERM, which schedulers send, ends a job as Ctrl-C does: what it holds is given up first."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.progress import log

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes, as shells count them."""
_ONE_SIGNAL_S = 0.5  # `timeout` signals the process and then its group: so soon after the first, it is the first again
_AGAIN_S = 0.02


class _Sigterm:
    """The handler: the first signal raises KeyboardInterrupt in the main thread, a second one ends the process."""

    def __init__(self) -> None:
        self.asked_at: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            raise KeyboardInterrupt  # Ray's ray.get turns any other exception of a handler into an error of its own
        if time.monotonic() > self.asked_at + _ONE_SIGNAL_S:
            os._exit(TERMINATED)

    def repeat_if_lost(self, lost: "sys.UnraisableHookArgs") -> None:
        """Python drops an exception that is raised while it tidies up (``__del__``): the signal comes once more."""
        if self.asked_at is not None and isinstance(lost.exc_value, KeyboardInterrupt):
            self.asked_at = None
            threading.Timer(_AGAIN_S, os.kill, (os.getpid(), signal.SIGTERM)).start()
        else:
            sys.__unraisablehook__(lost)


@contextmanager
def graceful_shutdown() -> Iterator[None]:
    """Ends the process where Ctrl-C or SIGTERM interrupts the block, once that has given up what it held.

    A second SIGTERM ends it at once. To be used in the main thread.

    Raises:
        SystemExit: With 130 or 143.
    """
    handler = _Sigterm()
    hook, sys.unraisablehook = sys.unraisablehook, handler.repeat_if_lost
    before = signal.signal(signal.SIGTERM, handler)
    try:
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
            sys.unraisablehook = hook
    except BaseException as error:
        if handler.asked_at is None and not isinstance(error, KeyboardInterrupt):
            raise
        # Whatever it is: libraries wrap the KeyboardInterrupt, and what is torn down on the way may fail.
        log("stopped; run the same command to go on")
        sys.exit(INTERRUPTED if handler.asked_at is None else TERMINATED)
