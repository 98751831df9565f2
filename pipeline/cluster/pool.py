"""A pool of equal actors: parts are handed to whichever is free, and a dead actor costs its part alone."""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    ObjectLostError,
    RayActorError,
    RayError,
    RayTaskError,
)

from pipeline.cluster.resources import actors_of, what_is_there
from pipeline.config import ClusterConfig
from pipeline.errors import PipelineError, UnavailableError

K = TypeVar("K")

_LONGEST_LANE = 32  # an actor with so many tasks waiting is helped by the others
_PAUSE_S = 1.0  # between two looks whether an actor is back


class _LostError(UnavailableError):
    """An actor or its node died before its answer was here."""


@dataclass(frozen=True)
class Task(Generic[K]):
    """A method call for any actor of the pool. It must be harmless to repeat.

    Attributes:
        key: What the caller knows it by.
        method: Name of the actor's method.
        args: Its arguments; object references are resolved before the call.
        preferred: Number of the actor, modulo their number, that keeps what the task needs (an index, a shard on its
            GPU). Others take it only when that one has fallen far behind.
        num_kept: How many of the values that it returns, the first ones, stay where they were made: the caller gets
            references to them.
    """

    key: K
    method: str
    args: tuple[Any, ...]
    preferred: int | None = None
    num_kept: int = 0


class ActorPool:
    """``num_actors`` actors of one class. Those that die are started again, and get the tasks that they held again.

    Ray starts them, and makes values anew that were kept on a node that died. Tasks are repeated here: Ray would use up
    its retries within seconds on an actor whose node it does not yet know to be dead.
    """

    def __init__(self, config: ClusterConfig, actor_class: type, *args: object) -> None:
        """Remembers what to start; the first task starts the actors, so a run without tasks costs nothing.

        Args:
            config: How many, with which resources.
            actor_class: A plain class.
            *args: For its constructor, on every actor.
        """
        self._config = config
        self._actor_class, self._args = actor_class, args
        self._actors: list[ActorHandle[Any]] = []

    def _start(self) -> None:
        config = self._config
        remote: Any = ray.remote(self._actor_class).options(
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
            max_restarts=-1,
            max_task_retries=config.max_task_retries,
        )
        self._actors = [remote.remote(*self._args) for _ in range(config.num_actors)]

    def start(self) -> None:
        """Starts the actors, and waits until all have their places.

        Raises:
            UnavailableError: They have not within ``stall_timeout_s``.
        """
        self._start()
        for actor in range(len(self._actors)):
            self._await(actor)

    def run(self, tasks: Iterable[Task[K]]) -> Iterator[tuple[K, Any]]:
        """Runs tasks, in order of submission but as actors become free; yields (key, result) as they finish.

        A task that keeps values yields (key, (reference, ..., result)).

        Tasks are drawn from the iterable one by one, so it may be long or lazily made.

        Raises:
            PipelineError: As the actor's method raised it.
            UnavailableError: Actors died too often, or nothing finished for ``stall_timeout_s``.
        """
        lanes = _Lanes(tasks, self._config.num_actors)
        idle = list(range(self._config.num_actors))
        running: dict[ray.ObjectRef[Any], tuple[Task[K], tuple[ray.ObjectRef[Any], ...], int]] = {}
        num_lost: Counter[K] = Counter()
        while True:
            for actor in list(idle):
                task = lanes.next_for(actor)
                if task is None:
                    continue
                if not self._actors:
                    self._start()
                idle.remove(actor)
                *kept, result = self._call(actor, task)
                running[result] = (task, tuple(kept), actor)
            if not running:
                return
            done, _ = ray.wait(list(running), num_returns=1, timeout=self._config.stall_timeout_s)
            if not done:
                raise self._stalled()
            task, references, actor = running.pop(done[0])
            idle.append(actor)
            try:
                result = result_of(done[0], self._config.stall_timeout_s)
            except _LostError:
                num_lost[task.key] += 1
                if num_lost[task.key] > self._config.max_task_retries:
                    raise
                self._await(actor)
                lanes.give_back(actor, task)
                continue
            yield task.key, ((*references, result) if references else result)

    def _call(self, actor: int, task: Task[K]) -> list["ray.ObjectRef[Any]"]:
        # What is kept can be made anew by Ray only if the call that made it may be repeated.
        options = {} if task.num_kept else {"max_task_retries": 0}
        method = getattr(self._actors[actor], task.method).options(num_returns=task.num_kept + 1, **options)
        returned = method.remote(*task.args)
        return list(returned) if task.num_kept else [returned]

    def _await(self, actor: int) -> None:
        """Waits until an actor that was lost answers again.

        Raises:
            UnavailableError: It does not, for ``stall_timeout_s``: most likely there is no room for it any more.
        """
        deadline = time.monotonic() + self._config.stall_timeout_s
        is_ready: Any = self._actors[actor].__ray_ready__.options(max_task_retries=0)
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                ray.get(is_ready.remote(), timeout=left_s)
                return
            except ActorUnavailableError:
                time.sleep(_PAUSE_S)
            except GetTimeoutError:
                break
            except RayError as error:
                raise UnavailableError(f"an actor cannot be started again: {first_line(error)}") from error
        raise self._stalled()

    def tell_all(self, method: str) -> None:
        """Calls a method without arguments on every actor that was started, and waits until all have done it.

        One that dies meanwhile is new when it is back, and is told nothing.

        Raises:
            PipelineError: As an actor's method raised it.
            UnavailableError: An actor has not done it within ``stall_timeout_s``.
        """
        asked = [getattr(actor, method).options(max_task_retries=0).remote() for actor in self._actors]
        if asked and ray.wait(asked, num_returns=len(asked), timeout=self._config.stall_timeout_s)[1]:
            raise self._stalled()
        for actor, reference in enumerate(asked):
            try:
                result_of(reference, self._config.stall_timeout_s)
            except _LostError:
                self._await(actor)

    def _stalled(self) -> UnavailableError:
        return UnavailableError(
            f"no part finished for {self._config.stall_timeout_s:g} s (cluster.stall_timeout_s) by "
            f"{actors_of(self._config)}, which are stuck or find no place: {what_is_there()}; look at `ray status`"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors:
            ray.kill(actor)


class _Lanes(Generic[K]):
    """Draws tasks one by one and keeps those that are for a busy actor until it is free, but never many of them."""

    def __init__(self, tasks: Iterable[Task[K]], num_actors: int) -> None:
        self._tasks = iter(tasks)
        self._lanes: list[deque[Task[K]]] = [deque() for _ in range(num_actors)]

    def next_for(self, actor: int) -> Task[K] | None:
        """The next task for an actor that is free; None where there is none."""
        while not self._lanes[actor]:
            longest = max(self._lanes, key=len)
            if len(longest) >= _LONGEST_LANE:
                return longest.popleft()
            task = next(self._tasks, None)
            if task is None:
                return longest.popleft() if len(longest) > 1 else None
            if task.preferred is None:
                return task
            self._lanes[task.preferred % len(self._lanes)].append(task)
        return self._lanes[actor].popleft()

    def give_back(self, actor: int, task: Task[K]) -> None:
        """The actor gets the task again, next."""
        self._lanes[actor].appendleft(task)


def result_of(reference: "ray.ObjectRef[Any]", timeout_s: float) -> Any:  # noqa: ANN401 — whatever the method returned
    """The value of a finished call, with the errors that we foresaw as themselves.

    Args:
        reference: To it.
        timeout_s: For fetching it: where its node died meanwhile, it is computed once more.

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
        raise _LostError(
            f"an actor died more than cluster.max_task_retries times on one part ({first_line(error)}): "
            "look at its log under /tmp/ray/session_latest/logs; too little memory is the usual cause"
        ) from error
    except RayError as error:  # the object store is full, …
        raise UnavailableError(f"Ray could not finish a part: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type's name."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
