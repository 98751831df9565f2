"""One Ray for all tests of this process: jobs that run here find it, and leave it running."""

from collections.abc import Iterator

import pytest

from tests.support import warm_ray


@pytest.fixture(scope="session", autouse=True, name="warm_ray")
def started_ray() -> Iterator[None]:
    """Ray on this machine."""
    with warm_ray.warm_ray():
        yield
