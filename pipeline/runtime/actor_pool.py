"""A pool of equal actors: parts are handed to whichever is free; actors may come late, and die at any time."""

import math
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError

from pipeline.config import ClusterConfig
from pipeline.errors import PipelineError, UnavailableError
from pipeline.progress import say
from pipeline.runtime.metrics import ACTORS_LOST
from pipeline.runtime.resources import actors_of, what_is_there
from pipeline.runtime.task_queue import Lanes, Task

__all__ = ["ActorPool", "Task", "first_line", "result_of"]

K = TypeVar("K")

_PAUSE_S = 1.0  # between two calls for an actor that is not to be reached
_PATIENCE_S = 20.0  # so long an actor that was lost may take to come back to what it kept

_Running = dict["ray.ObjectRef[Any]", tuple[Task[K], int]]  # of a call, what it does and the actor


class _LostError(UnavailableError):
    """An actor or its node died before its answer was here."""


class ActorPool:
    """``num_actors`` actors of one class. Those that die are started again; what they held is given to others.

    Work begins when enough have a place (``min_actors``); the others join when there is room for them, on a node that
    was added, say. Ray starts them, and makes values anew that were kept on a node that died. Tasks are repeated here:
    Ray would use up its retries within seconds on an actor whose node it does not yet know to be dead.
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
        self._nodes: dict[int, str] = {}
        """Where the actors are that have answered, and have not been lost since."""
        self._called: dict[ray.ObjectRef[Any], int] = {}
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
            remote: Any = ray.remote(self._actor_class).options(
                num_cpus=self._config.cpus_per_actor,
                num_gpus=self._config.gpus_per_actor,
                max_restarts=-1,
                max_task_retries=0,
                scheduling_strategy="SPREAD",
            )
            self._actors = [remote.remote(*self._args) for _ in range(self._config.num_actors)]
            for actor in range(len(self._actors)):
                self._call(actor)
        deadline = self._deadline()
        while len(self._nodes) < num_needed:
            if time.monotonic() > deadline:
                raise self._stalled()
            self._wait([], deadline)
        self._is_at_work = True

    def run(self, tasks: Iterable[Task[K]]) -> Iterator[tuple[K, Any]]:
        """Runs tasks, in order of submission but as actors become free; yields (key, result) as they finish.

        Tasks are drawn from the iterable one by one, so it may be long or lazily made.

        Args:
            tasks: The tasks.

        Raises:
            PipelineError: As the actor's method raised it.
            UnavailableError: Actors died too often, or nothing finished for ``stall_timeout_s``.
        """
        lanes = Lanes(tasks)
        running: _Running[K] = {}
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
                result = result_of(done, self._config.stall_timeout_s)
            except _LostError as error:
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

    def _hand_out(self, lanes: Lanes[K], running: _Running[K]) -> None:
        """Gives every free actor a task, where there is one for it."""
        busy = {actor for _, actor in running.values()}
        for actor, node in sorted(self._nodes.items()):
            if actor in busy:
                continue
            task = lanes.next_for((actor, node), self._is_served)
            if task is None:
                continue
            method = getattr(self._actors[actor], task.method)
            running[method.remote(*task.args)] = (task, actor)

    def _is_served(self, place: Hashable) -> bool:
        """Whether anybody is in a place, or may soon be back: what was kept there would have to be made anew."""
        there = place in self._nodes or place in self._nodes.values()
        return there or time.monotonic() < self._kept_until.get(place, -math.inf)

    def _wait(self, running: Sequence["ray.ObjectRef[Any]"], deadline: float) -> "ray.ObjectRef[Any] | None":
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
        asked: Any = self._actors[actor].__ray_call__
        self._called[asked.remote(_node_of)] = actor

    def _welcome(self, answer: "ray.ObjectRef[Any]") -> None:
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

    def tell_all(self, method: str) -> None:
        """Calls a method without arguments on every actor that is there, and waits until all have done it.

        One that dies meanwhile is new when it is back, and is told nothing.

        Raises:
            PipelineError: As an actor's method raised it.
            UnavailableError: An actor has not done it within ``stall_timeout_s``.
        """
        asked = {actor: getattr(self._actors[actor], method).remote() for actor in self._nodes}
        waited = list(asked.values())
        if waited and ray.wait(waited, num_returns=len(waited), timeout=self._config.stall_timeout_s)[1]:
            raise self._stalled()
        for actor, reference in asked.items():
            try:
                result_of(reference, self._config.stall_timeout_s)
            except _LostError:
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
            ray.kill(actor)


def _node_of(_: object) -> str:
    """Runs in an actor: the id of its node."""
    return ray.get_runtime_context().get_node_id()


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
