from collections.abc import Collection, Hashable

from pipeline.runtime.task_queue import Task, TaskQueue

Double = Task[int, int, int]


def queue_of(affinities: list[Hashable]) -> TaskQueue[Double]:
    return TaskQueue(Task(i, int.__mul__, 2).with_affinity(affinity) for i, affinity in enumerate(affinities))


def taken(queue: TaskQueue[Double], actors: list[int], lost: Collection[Hashable] = ()) -> list[int | None]:
    """Keys of the tasks that these actors take, one after the other; actors 0 and 2 are on node "x", 1 and 3 on "y"."""
    tasks = [queue.take((actor, "xy"[actor % 2]), lambda affinity: affinity not in lost) for actor in actors]
    return [task.key if task is not None else None for task in tasks]


def test_tasks_go_to_the_actor_or_the_node_that_holds_what_they_need() -> None:
    assert taken(queue_of([0, 1, 0, 1, 0, 1]), [1, 1, 0, 0, 1, 0]) == [1, 3, 0, 2, 5, 4]
    assert taken(queue_of(["x", "y", "x", "y"]), [1, 2, 0, 3]) == [1, 0, 2, 3]
    assert taken(queue_of([None] * 3), [1, 0, 0]) == [0, 1, 2]


def test_a_task_that_is_put_back_is_the_next_one_of_its_affinity() -> None:
    queue = queue_of([0, 0, None])
    lost = queue.take((0, "x"), lambda affinity: True)
    assert lost is not None
    queue.put_back(lost)
    assert taken(queue, [0, 0, 1]) == [0, 1, 2]


def test_an_actor_that_falls_far_behind_is_helped_and_no_task_is_lost() -> None:
    found = taken(queue_of([0] * 80), [1] * 79)
    assert found == list(range(79)), "in order, though none was for this actor"
    queue = queue_of([0, 0, 1])
    assert taken(queue, [1, 1, 1, 0, 0]) == [2, 0, None, 1, None], (
        "the last is left to the actor that is prepared for it"
    )


def test_tasks_of_an_affinity_without_an_actor_are_for_all() -> None:
    queue = queue_of(["z", "x", "z"])
    assert taken(queue, [1, 1, 1, 0], lost=["z"]) == [0, 2, None, 1]


def test_a_queue_has_tasks_until_the_last_one_is_taken() -> None:
    queue = queue_of(["y"])
    assert queue.has_tasks() and queue.has_tasks()
    assert taken(queue, [0, 1]) == [None, 0]
    assert not queue.has_tasks()
