"""A pool of equal actors: parts are handed to whichever is free; actors may come late, and die at any time."""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Generic, ParamSpec, Self, TypeVar

import ray
from ray.exceptions import RayActorError, RayError

from pipeline.config import ClusterConfig
from pipeline.errors import UnavailableError
from pipeline.progress import say
from pipeline.runtime.metrics import ACTORS_LOST
from pipeline.runtime.remote import Actor, ActorLostError, fetch, first_line
from pipeline.runtime.resources import actors_of, what_is_there
from pipeline.runtime.task_queue import Lanes, Task

__all__ = ["ActorPool", "Task"]

K = TypeVar("K")
P = ParamSpec("P")
R = TypeVar("R")
W_co = TypeVar(
    "W_co", covariant=True
)  # the class of the actors: a pool of a subclass does what a pool of its base does

_PAUSE_S = 1.0  # between two calls for an actor that is not to be reached
_PATIENCE_S = 20.0  # so long an actor that was lost may take to come back to what it kept

_Running = dict["ray.ObjectRef[R]", tuple[Task[W_co, K, R], int]]  # of a call, what it does and the actor


class ActorPool(Generic[W_co]):
    """``num_actors`` actors of one class. Those that die are started again; what they held is given to others.

    Work begins when enough have a place (``min_actors``); the others join when there is room for them, on a node that
    was added, say. Ray starts them, and makes values anew that were kept on a node that died. Tasks are repeated here:
    Ray would use up its retries within seconds on an actor whose node it does not yet know to be dead.
    """

    def __init__(
        self, config: ClusterConfig, actor_class: Callable[P, W_co], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Remembers what to start; the first task starts the actors, so a run without tasks costs nothing.

        Args:
            config: How many, with which resources.
            actor_class: A plain class.
            *args: For its constructor, on every actor.
            **kwargs: By name.
        """
        self._config = config
        self._actor_class: Callable[..., W_co] = actor_class
        self._args, self._kwargs = args, kwargs
        self._actors: list[Actor[W_co]] = []
        self._nodes: dict[int, str] = {}
        """Where the actors are that have answered, and have not been lost since."""
        self._called: dict[ray.ObjectRef[str], int] = {}
        self._call_again_at: dict[int, float] = {}
        self._kept_until: dict[Hashable, float] = {}
        """How long places that were lost are waited for."""
        self._is_at_work = False

    @property
    def num_actors(self) -> int:
        """How many there are at most."""
        return self._config.num_actors

    @property
    def nodes(self) -> list[str]:
        """Ids of the nodes that its actors are on, one for each that is there; waits where none is."""
        self.start()
        return [self._nodes[actor] for actor in sorted(self._nodes)]

    def start(self) -> None:
        """Starts the actors, and waits until enough have their places; later, where all were lost, until one is back.

        Raises:
            UnavailableError: They have not within ``stall_timeout_s``, or ``wait_for_nodes_s`` where that is longer.
        """
        num_needed = 1 if self._actors else self._config.num_needed_actors
        if not self._actors:
            options = {
                "num_cpus": self._config.cpus_per_actor,
                "num_gpus": self._config.gpus_per_actor,
                "max_restarts": -1,
                "max_task_retries": 0,
                "scheduling_strategy": "SPREAD",
            }
            number = self._config.num_actors
            self._actors = Actor.start(number, options, self._actor_class, *self._args, **self._kwargs)
            for actor in range(len(self._actors)):
                self._call(actor)
        deadline = self._deadline()
        while len(self._nodes) < num_needed:
            if time.monotonic() > deadline:
                raise self._stalled()
            self._wait([], deadline)
        self._is_at_work = True

    def run(self, tasks: Iterable[Task[W_co, K, R]]) -> Iterator[tuple[K, R]]:
        """Runs tasks, in order of submission but as actors become free; yields (key, result) as they finish.

        Tasks are drawn from the iterable one by one, so it may be long or lazily made.

        Args:
            tasks: The tasks.

        Raises:
            PipelineError: As the actor's method raised it.
            UnavailableError: Actors died too often, or nothing finished for ``stall_timeout_s``.
        """
        lanes = Lanes(tasks)
        running: _Running[R, W_co, K] = {}
        num_lost: Counter[K] = Counter()
        if lanes.has_some():
            self.start()
        deadline = self._deadline()
        while running or lanes.has_some():
            self._hand_out(lanes, running)
            done = self._wait(list(running), deadline)
            if done is None:
                if time.monotonic() > deadline:
                    raise self._stalled()
                continue
            task, actor = running.pop(done)
            try:
                result = fetch(done, self._config.stall_timeout_s)
            except ActorLostError as error:
                num_lost[task.key] += 1
                ACTORS_LOST.add()
                if num_lost[task.key] > self._config.max_task_retries:
                    raise
                say(f"note: {first_line(error.__cause__ or error)}; what it did is given to others")
                lanes.give_back(task)
                self._call(actor)
            else:
                self._hand_out(lanes, running)  # nobody waits while the caller looks at the result
                yield task.key, result
            deadline = self._deadline()

    def _hand_out(self, lanes: Lanes[Task[W_co, K, R]], running: _Running[R, W_co, K]) -> None:
        """Gives every free actor a task, where there is one for it."""
        busy = {actor for _, actor in running.values()}
        for actor, node in sorted(self._nodes.items()):
            if actor in busy:
                continue
            task = lanes.next_for((actor, node), self._is_served)
            if task is None:
                continue
            running[self._actors[actor].submit(task.method, *task.args, **task.kwargs)] = (task, actor)

    def _is_served(self, place: Hashable) -> bool:
        """Whether anybody is in a place, or may soon be back: what was kept there would have to be made anew."""
        there = place in self._nodes or place in self._nodes.values()
        return there or time.monotonic() < self._kept_until.get(place, -math.inf)

    def _wait(self, running: Sequence["ray.ObjectRef[R]"], deadline: float) -> "ray.ObjectRef[R] | None":
        """A call that has finished; None where an actor has come instead, or it is time to look again."""
        now = time.monotonic()
        for actor in [actor for actor, due in self._call_again_at.items() if due <= now]:
            del self._call_again_at[actor]
            self._call(actor)
        due = [*self._call_again_at.values(), *(until for until in self._kept_until.values() if until > now)]
        pause_s = max(min([deadline, *due]) - now, 0.0)
        if not running and not self._called:
            time.sleep(pause_s)
            return None
        done, _ = ray.wait([*running, *self._called], num_returns=1, timeout=pause_s)
        if done and done[0] in self._called:
            self._welcome(done[0])
            return None
        return done[0] if done else None

    def _call(self, actor: int) -> None:
        """Asks an actor where it is; it answers when it has a place."""
        node = self._nodes.pop(actor, None)
        if node is not None:
            until = time.monotonic() + min(_PATIENCE_S, self._config.stall_timeout_s / 2)
            self._kept_until |= {actor: until, node: until}
        self._called[self._actors[actor].locate()] = actor

    def _welcome(self, answer: "ray.ObjectRef[str]") -> None:
        """Takes note of where an actor is that has answered.

        Raises:
            UnavailableError: It can never be started.
        """
        actor = self._called.pop(answer)
        try:
            self._nodes[actor] = ray.get(answer)
            if self._is_at_work:
                say(f"note: an actor has joined; {len(self._nodes)} of {len(self._actors)} are there")
        except RayError as error:
            if isinstance(error, RayActorError) and not error.actor_init_failed:
                self._call_again_at[actor] = time.monotonic() + _PAUSE_S  # its node died, say: Ray starts it anew
            else:
                raise UnavailableError(f"an actor cannot be started: {first_line(error)}") from error

    def tell_all(self, method: Callable[[W_co], object]) -> None:
        """Calls a method without arguments on every actor that is there, and waits until all have done it.

        One that dies meanwhile is new when it is back, and is told nothing.

        Raises:
            PipelineError: As an actor's method raised it.
            UnavailableError: An actor has not done it within ``stall_timeout_s``.
        """
        asked = {actor: self._actors[actor].submit(method) for actor in self._nodes}
        waited = list(asked.values())
        if waited and ray.wait(waited, num_returns=len(waited), timeout=self._config.stall_timeout_s)[1]:
            raise self._stalled()
        for actor, reference in asked.items():
            try:
                fetch(reference, self._config.stall_timeout_s)
            except ActorLostError:
                self._call(actor)

    def _deadline(self) -> float:
        return time.monotonic() + self._patience()[0]

    def _patience(self) -> tuple[float, str]:
        """How long nothing may happen, and the setting that says so: where no actor is there, its node may yet come."""
        config = self._config
        found = [(config.stall_timeout_s, "cluster.stall_timeout_s")]
        if not self._nodes:
            found.append((config.wait_for_nodes_s, "cluster.wait_for_nodes_s"))
        return max(found)

    def _stalled(self) -> UnavailableError:
        seconds, setting = self._patience()
        return UnavailableError(
            f"no part finished for {seconds:g} s ({setting}) by "
            f"{actors_of(self._config)}, which are stuck or find no place: {what_is_there()}; look at `ray status`"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors:
            ray.kill(actor.handle)
