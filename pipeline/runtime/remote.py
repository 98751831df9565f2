"""Typed calls of other processes: functions on chosen nodes, methods of actors, and values that stay on a node.

Functions need no actor: a node that leaves takes its actors along, and the values on it must not wait for these to
return. So Ray makes such a value anew, on another node, from the call that made it. Functions reserve nothing either:
what they do is read, copy and prepare. A new process runs them, and soon: their modules import no torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.config import ClusterConfig
from pipeline.errors import PipelineError, UnavailableError

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")

Reference = ray.ObjectRef[Any]  # to a value in the shared memory of some node


class ActorLostError(UnavailableError):
    """An actor or its node died before the result of a call was here."""


@dataclass(frozen=True)
class Actor(Generic[W]):
    """A process that holds one object of a plain class. Methods are named as that class's: ``Worker.method``."""

    handle: ActorHandle[Any]

    @classmethod
    def start(
        cls, number: int, options: Mapping[str, Any], actor_class: Callable[P, W], *args: P.args, **kwargs: P.kwargs
    ) -> "list[Actor[W]]":
        """Starts a number of actors of one class, without waiting for them; ``options`` are Ray's."""
        remote: Any = ray.remote(actor_class)
        return [cls(remote.options(**options).remote(*args, **kwargs)) for _ in range(number)]

    def submit(self, method: Callable[Concatenate[W, P], R], *args: P.args, **kwargs: P.kwargs) -> "ray.ObjectRef[R]":
        """Calls the actor's method of this name, which a subclass may have overridden; returns at once."""
        remote: Any = getattr(self.handle, method.__name__)
        return cast("ray.ObjectRef[R]", remote.remote(*args, **kwargs))

    def locate(self) -> "ray.ObjectRef[str]":
        """The id of the actor's node, as soon as it runs on one."""
        call: Any = self.handle.__ray_call__
        return cast("ray.ObjectRef[str]", call.remote(_own_node))


def _own_node(_: object) -> str:
    return ray.get_runtime_context().get_node_id()


def submit(
    config: ClusterConfig, node: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> "ray.ObjectRef[R]":
    """Calls a module's function on the node of an id, or on another where this one has left; returns at once.

    Where a node died that ran it, or that held its value, Ray calls it again, up to ``max_task_retries`` times. For
    references among the arguments see ``resolved``.
    """
    return cast("ray.ObjectRef[R]", _remote(config, node, function, 1).remote(*args, **kwargs))


def submit_several(
    config: ClusterConfig,
    node: str,
    num_returns: int,
    function: Callable[P, tuple[Any, ...]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> list[Reference]:
    """The same for a function of several values, each of which gets a reference of its own."""
    return cast(list[Reference], _remote(config, node, function, num_returns).remote(*args, **kwargs))


def _remote(config: ClusterConfig, node: str, function: Callable[..., Any], num_returns: int) -> Any:  # noqa: ANN401
    remote: Any = ray.remote(function)
    return remote.options(
        num_cpus=0,
        num_returns=num_returns,
        max_retries=config.max_task_retries,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
    )


def put(value: R) -> "ray.ObjectRef[R]":
    """Puts a value into the shared memory of this node."""
    return ray.put(value)


def resolved(reference: "ray.ObjectRef[R]") -> R:
    """A reference as an argument: it has the type of its value, which Ray passes in its place."""
    return cast(R, reference)


def fetch(reference: "ray.ObjectRef[R]", timeout_s: float) -> R:
    """Waits for the value of a call, and raises the errors that we foresaw as themselves.

    The timeout is for fetching it: where its node died meanwhile, it is computed once more.

    Raises:
        PipelineError: As it was raised in the other process.
        UnavailableError: The process died, or Ray failed.
    """
    try:
        return ray.get(reference, timeout=timeout_s)
    except RayTaskError as error:
        if isinstance(error.cause, PipelineError):
            raise error.cause from None
        raise
    except (RayActorError, ObjectLostError) as error:
        raise ActorLostError(
            f"an actor died more than cluster.max_task_retries times on one part ({first_line(error)}): "
            "look at its log under /tmp/ray/session_latest/logs; too little memory is the usual cause"
        ) from error
    except RayError as error:  # the object store is full, …
        raise UnavailableError(f"Ray could not finish a part: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type's name."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
