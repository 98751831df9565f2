from collections.abc import Collection, Hashable

from pipeline.runtime.task_queue import Lanes, Task

Double = Task[int, int, int]


def lanes_of(places: list[Hashable]) -> Lanes[Double]:
    return Lanes(Task(i, int.__mul__, 2).at(place) for i, place in enumerate(places))


def drawn(lanes: Lanes[Double], actors: list[int], gone: Collection[Hashable] = ()) -> list[int | None]:
    """Keys of the tasks that these actors get, one after the other; actors 0 and 2 are on node "x", 1 and 3 on "y"."""
    tasks = [lanes.next_for((actor, "xy"[actor % 2]), lambda place: place not in gone) for actor in actors]
    return [task.key if task is not None else None for task in tasks]


def test_tasks_go_to_the_actor_or_the_node_that_keeps_what_they_need() -> None:
    assert drawn(lanes_of([0, 1, 0, 1, 0, 1]), [1, 1, 0, 0, 1, 0]) == [1, 3, 0, 2, 5, 4]
    assert drawn(lanes_of(["x", "y", "x", "y"]), [1, 2, 0, 3]) == [1, 0, 2, 3]
    assert drawn(lanes_of([None] * 3), [1, 0, 0]) == [0, 1, 2]


def test_a_task_that_is_given_back_is_the_next_one_of_its_lane() -> None:
    lanes = lanes_of([0, 0, None])
    lost = lanes.next_for((0, "x"), lambda place: True)
    assert lost is not None
    lanes.give_back(lost)
    assert drawn(lanes, [0, 0, 1]) == [0, 1, 2]


def test_whoever_falls_far_behind_is_helped_and_nothing_is_lost() -> None:
    found = drawn(lanes_of([0] * 80), [1] * 79)
    assert found == list(range(79)), "in order, though none was for this actor"
    lanes = lanes_of([0, 0, 1])
    assert drawn(lanes, [1, 1, 1, 0, 0]) == [2, 0, None, 1, None], "the last is left to the one that is prepared for it"


def test_what_is_for_a_place_where_nobody_is_left_is_for_all() -> None:
    lanes = lanes_of(["z", "x", "z"])
    assert drawn(lanes, [1, 1, 1, 0], gone=["z"]) == [0, 2, None, 1]


def test_there_is_some_as_long_as_one_was_not_handed_out() -> None:
    lanes = lanes_of(["y"])
    assert lanes.has_some() and lanes.has_some()
    assert drawn(lanes, [0, 1]) == [None, 0]
    assert not lanes.has_some()
