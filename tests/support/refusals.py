"""Errors are sentences that people read: a test takes the whole of one."""

from collections.abc import Callable

import pytest

from pipeline.errors import InputError


def refusal(call: Callable[[], object], kind: type[Exception] = InputError) -> str:
    """The one sentence that a call is refused with, by an error of this very kind."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is kind and "\n" not in message
    return message
