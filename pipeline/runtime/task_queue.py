"""Lanes: who is handed which task next, without Ray."""

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

K = TypeVar("K")

_LONGEST_LANE = 32  # with so many tasks waiting in one lane, others help


@dataclass(frozen=True)
class Task(Generic[K]):
    """A method call for any actor of a pool. It must be harmless to repeat.

    Attributes:
        key: What the caller knows it by.
        method: Name of the actor's method.
        args: Its arguments; object references are resolved before the call.
        place: Whoever keeps what the task needs: the number of an actor (with an index, or a shard on its GPU), or the
            id of a node. Others take it only when these have fallen far behind, or are gone.
    """

    key: K
    method: str
    args: tuple[Any, ...]
    place: Hashable = None


class Lanes(Generic[K]):
    """Draws tasks one by one, and keeps those that are for somebody who is busy; but never many of them."""

    def __init__(self, tasks: Iterable[Task[K]]) -> None:
        """Takes the tasks, which are drawn as actors become free."""
        self._tasks: Iterator[Task[K]] = iter(tasks)
        self._ready: deque[Task[K]] = deque()
        self._lanes: dict[Hashable, deque[Task[K]]] = {}

    def give_back(self, task: Task[K]) -> None:
        """Takes a task that was handed out and not done: the next one of its lane."""
        self._lane_of(task).appendleft(task)

    def has_some(self) -> bool:
        """Whether there is a task that was not handed out."""
        if not self._ready and not any(self._lanes.values()):
            task = next(self._tasks, None)
            if task is not None:
                self._lane_of(task).append(task)
        return bool(self._ready) or any(self._lanes.values())

    def next_for(self, places: Collection[Hashable], is_served: Callable[[Hashable], bool]) -> Task[K] | None:
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

    def _lane_of(self, task: Task[K]) -> deque[Task[K]]:
        return self._ready if task.place is None else self._lanes.setdefault(task.place, deque())
