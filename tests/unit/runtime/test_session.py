import socket

import pytest
import ray

from pipeline.config import ClusterConfig
from pipeline.errors import UnavailableError
from pipeline.runtime.session import session


def test_a_metrics_port_that_is_taken_is_said_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = f"cluster.metrics_port {port} is not to be had on 127.0.0.1 .*: name another"
        with pytest.raises(UnavailableError, match=words), session(ClusterConfig(metrics_port=port), []):
            pytest.fail("Ray would go on without its metrics, and say nothing")
    assert not ray.is_initialized()
