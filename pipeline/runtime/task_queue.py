"""A task queue with affinity, without Ray: which actor is given which task next."""

import copy
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

P = ParamSpec("P")
# The class of the actors; a task for a class is one for its subclasses too.
W_contra = TypeVar("W_contra", contravariant=True)
K_co = TypeVar("K_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

_MAX_WAITING = 32  # tasks that wait for one affinity; of more than these, other actors take some


class Task(Generic[W_contra, K_co, R_co]):
    """A call of a method, for any actor of a pool. Running it twice must do no harm.

    The key identifies it to the caller. For references among the arguments see ``pipeline.runtime.remote.resolved``.
    """

    def __init__(
        self, key: K_co, method: Callable[Concatenate[W_contra, P], R_co], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Holds the call of a method of the actors' class, or of its base."""
        self.key = key
        self.method: Callable[..., R_co] = method
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs
        self.affinity: Hashable = None

    def with_affinity(self, affinity: Hashable) -> Self:
        """The same task, for the actors that hold what it needs.

        Args:
            affinity: The number of an actor (which holds an index, or a shard on its GPU), or the id of a node. Other
                actors take the task only when these have fallen far behind, or are gone.
        """
        task = copy.copy(self)
        task.affinity = affinity
        return task


T = TypeVar("T", bound=Task[Any, Any, Any])


class TaskQueue(Generic[T]):
    """Draws tasks one by one, and holds those whose actors are busy, but never many of them."""

    def __init__(self, tasks: Iterable[T]) -> None:
        """Takes the tasks, which are drawn as actors become free."""
        self._tasks: Iterator[T] = iter(tasks)
        self._without_affinity: deque[T] = deque()
        self._by_affinity: dict[Hashable, deque[T]] = {}

    def put_back(self, task: T) -> None:
        """Takes a task that was taken and not finished: it is the next one of its affinity."""
        self._waiting(task).appendleft(task)

    def has_tasks(self) -> bool:
        """Whether a task is left to take."""
        if not self._without_affinity and not any(self._by_affinity.values()):
            task = next(self._tasks, None)
            if task is not None:
                self._waiting(task).append(task)
        return bool(self._without_affinity) or any(self._by_affinity.values())

    def take(self, affinities: Collection[Hashable], is_available: Callable[[Hashable], bool]) -> T | None:
        """The next task for an actor that is free; None where there is none.

        Args:
            affinities: The number of the actor, and the id of its node.
            is_available: Whether an affinity has an actor.
        """
        while True:
            for affinity in affinities:
                if self._by_affinity.get(affinity):
                    return self._by_affinity[affinity].popleft()
            if self._without_affinity:
                return self._without_affinity.popleft()
            for affinity, waiting in self._by_affinity.items():
                if waiting and not is_available(affinity):
                    return waiting.popleft()
            longest = max(self._by_affinity.values(), key=len, default=self._without_affinity)
            if len(longest) >= _MAX_WAITING:
                return longest.popleft()
            task = next(self._tasks, None)
            if task is None:
                # The last task of an affinity is left to the actor that holds what it needs.
                return longest.popleft() if len(longest) > 1 else None
            self._waiting(task).append(task)

    def _waiting(self, task: T) -> deque[T]:
        if task.affinity is None:
            return self._without_affinity
        return self._by_affinity.setdefault(task.affinity, deque())
