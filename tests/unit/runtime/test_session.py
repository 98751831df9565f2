import socket

import pytest

from pipeline.config import ClusterConfig
from pipeline.errors import UnavailableError
from pipeline.runtime.session import _connect


def test_a_metrics_port_that_is_taken_is_said_before_ray_starts_without_its_metrics() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UnavailableError, match=f"cluster.metrics_port {port} is not to be had on 127.0.0.1 .*: name"
        ):
            _connect(ClusterConfig(metrics_port=port), True, [])
