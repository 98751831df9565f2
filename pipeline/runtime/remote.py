"""Calls of plain functions on chosen nodes, with values that stay there.

They need no actor: a node that leaves takes its actors along, and what lay on it must not wait for these to return. So
Ray makes such a value anew, on another node, from the call that made it. They reserve nothing either: what they do is
read, copy and prepare. A new process runs them, and soon: the modules of these functions import no torch.
"""

from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.config import ClusterConfig
from pipeline.runtime.actor_pool import result_of

Reference = ray.ObjectRef[Any]  # to a value that lies in some node's shared memory


def call_on(config: ClusterConfig, node: str, num_values: int, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
    """Calls a function on a node, or on another where this one has left.

    Args:
        config: Says how often it is called again: where a node died that ran it, or that held what it made.
        node: Its id.
        num_values: How many the function returns.
        function: Of a module.
        *args: Its arguments; references are resolved.

    Returns:
        The reference to its value, or a list of them where there are several; at once.
    """
    remote: Any = ray.remote(function).options(
        num_cpus=0,
        num_returns=num_values,
        max_retries=config.max_task_retries,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
    )
    return remote.remote(*args)


def share(value: object) -> Reference:
    """Puts a value into the shared memory of this node."""
    return ray.put(value)


def value_of(config: ClusterConfig, reference: Reference) -> Any:  # noqa: ANN401 — whatever the function returned
    """Waits for a value; raises as ``result_of`` does."""
    return result_of(reference, config.stall_timeout_s)
