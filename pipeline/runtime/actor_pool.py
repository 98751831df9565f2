"""A pool of equal actors: each free actor is given the next task; actors may join late, and die at any time."""

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
from pipeline.progress import log
from pipeline.runtime.metrics import ACTORS_LOST
from pipeline.runtime.remote import Actor, ActorLostError, fetch, first_line
from pipeline.runtime.resources import actor_reservation, format_cluster
from pipeline.runtime.task_queue import Task, TaskQueue

__all__ = ["ActorPool", "Task"]

K = TypeVar("K")
P = ParamSpec("P")
R = TypeVar("R")
# The class of the actors; a pool of a class is one of its base too.
W_co = TypeVar("W_co", covariant=True)

_LOCATE_INTERVAL_S = 1.0  # between two questions to an actor that cannot be reached
_GRACE_PERIOD_S = 20.0  # in which a lost actor may come back to what its node holds

_Running = dict["ray.ObjectRef[R]", tuple[Task[W_co, K, R], int]]  # by result: the task, and the number of its actor


class ActorPool(Generic[W_co]):
    """``num_actors`` actors of one class. Ray restarts a dead actor, and the pool gives its task to another one.

    Work begins when ``min_actors`` actors run; the others join when a node has room for them, an added one, say. Ray
    makes values anew that were held on a node that died. The pool retries tasks itself: Ray would use up its retries
    within seconds on an actor whose node it does not yet know to be dead.
    """

    def __init__(
        self, config: ClusterConfig, actor_class: Callable[P, W_co], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Holds a plain class, and what each actor constructs it from; the first task starts the actors."""
        self._config = config
        self._actor_class: Callable[..., W_co] = actor_class
        self._args, self._kwargs = args, kwargs
        self._actors: list[Actor[W_co]] = []
        self._nodes: dict[int, str] = {}
        """Node ids of the actors that run, by number."""
        self._locating: dict[ray.ObjectRef[str], int] = {}
        """The other actors, by the answer that says where they run."""
        self._locate_again_at: dict[int, float] = {}
        self._grace_until: dict[Hashable, float] = {}
        """By affinity: until when tasks wait for lost actors."""
        self._is_started = False

    @property
    def num_actors(self) -> int:
        """The number of actors when all run."""
        return self._config.num_actors

    @property
    def nodes(self) -> list[str]:
        """Node ids, one for each actor that runs; waits until one does."""
        self.start()
        return [self._nodes[actor] for actor in sorted(self._nodes)]

    def start(self) -> None:
        """Starts the actors, and waits until enough run; later, where all were lost, until one is back.

        Raises:
            UnavailableError: They do not within ``stall_timeout_s``, or ``wait_for_nodes_s`` where that is longer.
        """
        config = self._config
        num_needed = 1 if self._actors else config.num_needed_actors
        if not self._actors:
            options = {
                "num_cpus": config.cpus_per_actor,
                "num_gpus": config.gpus_per_actor,
                "max_restarts": -1,
                "max_task_retries": 0,
                "scheduling_strategy": "SPREAD",
            }
            self._actors = Actor.start(config.num_actors, options, self._actor_class, *self._args, **self._kwargs)
            for actor in range(len(self._actors)):
                self._locate(actor)
        deadline = self._deadline()
        while len(self._nodes) < num_needed:
            if time.monotonic() > deadline:
                raise self._stall_error()
            self._wait([], deadline)
        self._is_started = True

    def run(self, tasks: Iterable[Task[W_co, K, R]]) -> Iterator[tuple[K, R]]:
        """Runs tasks as actors become free, in order of submission; yields (key, result) as they finish.

        Args:
            tasks: Drawn one by one, so they may be many, or made lazily.

        Raises:
            PipelineError: As the actor's method raised it.
            UnavailableError: Actors died too often, or nothing finished for ``stall_timeout_s``.
        """
        queue = TaskQueue(tasks)
        running: _Running[R, W_co, K] = {}
        num_lost: Counter[K] = Counter()
        if queue.has_tasks():
            self.start()
        deadline = self._deadline()
        while running or queue.has_tasks():
            self._dispatch(queue, running)
            finished = self._wait(list(running), deadline)
            if finished is None:
                if time.monotonic() > deadline:
                    raise self._stall_error()
                continue
            task, actor = running.pop(finished)
            try:
                result = fetch(finished, self._config.stall_timeout_s)
            except ActorLostError as error:
                num_lost[task.key] += 1
                ACTORS_LOST.add()
                if num_lost[task.key] > self._config.max_task_retries:
                    raise
                log(f"note: {first_line(error.__cause__ or error)}; another actor takes its task")
                queue.put_back(task)
                self._locate(actor)
            else:
                self._dispatch(queue, running)  # no actor waits while the caller looks at the result
                yield task.key, result
            deadline = self._deadline()

    def _dispatch(self, queue: TaskQueue[Task[W_co, K, R]], running: _Running[R, W_co, K]) -> None:
        """Gives every free actor a task, where there is one for it."""
        busy = {actor for _, actor in running.values()}
        for actor, node in sorted(self._nodes.items()):
            if actor in busy:
                continue
            task = queue.take((actor, node), self._is_available)
            if task is None:
                continue
            running[self._actors[actor].submit(task.method, *task.args, **task.kwargs)] = (task, actor)

    def _is_available(self, affinity: Hashable) -> bool:
        """Whether an actor of this affinity runs, or may soon be back: what it held would have to be made anew."""
        runs = affinity in self._nodes or affinity in self._nodes.values()
        return runs or time.monotonic() < self._grace_until.get(affinity, -math.inf)

    def _wait(self, running: Sequence["ray.ObjectRef[R]"], deadline: float) -> "ray.ObjectRef[R] | None":
        """Waits for a result; None where an actor has joined instead, or something else is due."""
        now = time.monotonic()
        for actor in [actor for actor, due in self._locate_again_at.items() if due <= now]:
            del self._locate_again_at[actor]
            self._locate(actor)
        due = [*self._locate_again_at.values(), *(until for until in self._grace_until.values() if until > now)]
        timeout_s = max(min([deadline, *due]) - now, 0.0)
        if not running and not self._locating:
            time.sleep(timeout_s)
            return None
        ready, _ = ray.wait([*running, *self._locating], num_returns=1, timeout=timeout_s)
        if ready and ready[0] in self._locating:
            self._join(ready[0])
            return None
        return ready[0] if ready else None

    def _locate(self, actor: int) -> None:
        """Asks an actor for its node; it answers when it runs."""
        node = self._nodes.pop(actor, None)
        if node is not None:
            until = time.monotonic() + min(_GRACE_PERIOD_S, self._config.stall_timeout_s / 2)
            self._grace_until |= {actor: until, node: until}
        self._locating[self._actors[actor].locate()] = actor

    def _join(self, answer: "ray.ObjectRef[str]") -> None:
        """Takes up the actor that gave this answer.

        Raises:
            UnavailableError: It can never be started.
        """
        actor = self._locating.pop(answer)
        try:
            self._nodes[actor] = ray.get(answer)
            if self._is_started:
                log(f"note: an actor has joined; {len(self._nodes)} of {len(self._actors)} run")
        except RayError as error:
            if isinstance(error, RayActorError) and not error.actor_init_failed:
                self._locate_again_at[actor] = time.monotonic() + _LOCATE_INTERVAL_S  # Ray restarts it: its node died
            else:
                raise UnavailableError(f"an actor cannot be started: {first_line(error)}") from error

    def broadcast(self, method: Callable[[W_co], object]) -> None:
        """Calls a method without arguments on every actor that runs, and waits until all calls have ended.

        An actor that dies meanwhile holds nothing when it is back, and is not called again.

        Raises:
            PipelineError: As an actor's method raised it.
            UnavailableError: An actor has not ended within ``stall_timeout_s``.
        """
        calls = {actor: self._actors[actor].submit(method) for actor in self._nodes}
        references = list(calls.values())
        if references and ray.wait(references, num_returns=len(calls), timeout=self._config.stall_timeout_s)[1]:
            raise self._stall_error()
        for actor, reference in calls.items():
            try:
                fetch(reference, self._config.stall_timeout_s)
            except ActorLostError:
                self._locate(actor)

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout()[0]

    def _timeout(self) -> tuple[float, str]:
        """How long nothing may happen, and the setting that says so: where no actor runs, its node may yet come."""
        config = self._config
        timeouts = [(config.stall_timeout_s, "cluster.stall_timeout_s")]
        if not self._nodes:
            timeouts.append((config.wait_for_nodes_s, "cluster.wait_for_nodes_s"))
        return max(timeouts)

    def _stall_error(self) -> UnavailableError:
        timeout_s, setting = self._timeout()
        return UnavailableError(
            f"no part finished for {timeout_s:g} s ({setting}) by {actor_reservation(self._config)}, which are stuck "
            f"or find no place: {format_cluster()}; look at `ray status`"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self._actors:
            ray.kill(actor.handle)
