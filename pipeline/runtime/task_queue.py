"""Lanes: who is handed which task next, without Ray."""

import copy
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

P = ParamSpec("P")
W_contra = TypeVar("W_contra", contravariant=True)  # the class of the actors: what its base can do is a task for it too
K_co = TypeVar("K_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

_LONGEST_LANE = 32  # with so many tasks waiting in one lane, others help


class Task(Generic[W_contra, K_co, R_co]):
    """A method call for any actor of a pool. It must be harmless to repeat."""

    def __init__(
        self, key: K_co, method: Callable[Concatenate[W_contra, P], R_co], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Notes the call.

        Args:
            key: What the caller knows it by.
            method: Of the actors' class, or of its base.
            *args: Its arguments; for references see ``pipeline.runtime.remote.resolved``.
            **kwargs: By name.
        """
        self.key = key
        self.place: Hashable = None
        self.method: Callable[..., R_co] = method
        self.args: tuple[Any, ...] = args
        self.kwargs: dict[str, Any] = kwargs

    def at(self, place: Hashable) -> Self:
        """The same task for whoever keeps what it needs.

        Args:
            place: The number of an actor (with an index, or a shard on its GPU), or the id of a node. Others take the
                task only when these have fallen far behind, or are gone.
        """
        task = copy.copy(self)
        task.place = place
        return task


T = TypeVar("T", bound=Task[Any, Any, Any])


class Lanes(Generic[T]):
    """Draws tasks one by one, and keeps those that are for somebody who is busy; but never many of them."""

    def __init__(self, tasks: Iterable[T]) -> None:
        """Takes the tasks, which are drawn as actors become free."""
        self._tasks: Iterator[T] = iter(tasks)
        self._ready: deque[T] = deque()
        self._lanes: dict[Hashable, deque[T]] = {}

    def give_back(self, task: T) -> None:
        """Takes a task that was handed out and not done: the next one of its lane."""
        self._lane_of(task).appendleft(task)

    def has_some(self) -> bool:
        """Whether there is a task that was not handed out."""
        if not self._ready and not any(self._lanes.values()):
            task = next(self._tasks, None)
            if task is not None:
                self._lane_of(task).append(task)
        return bool(self._ready) or any(self._lanes.values())

    def next_for(self, places: Collection[Hashable], is_served: Callable[[Hashable], bool]) -> T | None:
        """The next task for an actor that is free; None where there is none.

        Args:
            places: Where the actor is: its number, its node.
            is_served: Whether anybody is left in a place.
        """
        while True:
            for place in places:
                if self._lanes.get(place):
                    return self._lanes[place].popleft()
            if self._ready:
                return self._ready.popleft()
            for place, lane in self._lanes.items():
                if lane and not is_served(place):
                    return lane.popleft()
            longest = max(self._lanes.values(), key=len, default=self._ready)
            if len(longest) >= _LONGEST_LANE:
                return longest.popleft()
            task = next(self._tasks, None)
            if task is None:
                # The last one of a lane is left to whoever is prepared for it.
                return longest.popleft() if len(longest) > 1 else None
            self._lane_of(task).append(task)

    def _lane_of(self, task: T) -> deque[T]:
        return self._ready if task.place is None else self._lanes.setdefault(task.place, deque())
