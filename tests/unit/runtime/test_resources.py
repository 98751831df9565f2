import pytest

from pipeline.runtime.resources import Reservation, Resources, format_nodes, unschedulable_reason


def actors(count: int, cpus: float, gpus: float = 0.0) -> Reservation:
    return Reservation("actor", count, {"CPU": cpus, "GPU": gpus}, "cluster.num_actors")


def trainers(count: int, cpus: float, gpus: float = 0.0) -> Reservation:
    return Reservation("training worker", count, {"CPU": cpus, "GPU": gpus}, "training.num_workers")


CPU_NODE: Resources = {"CPU": 2.0, "memory": 1e9, "node:127.0.0.1": 1.0}
GPU_NODE: Resources = {"CPU": 1.0, "GPU": 1.0}


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        [actors(5, 0.0)],
        [actors(2, 2.0)],
        [actors(5, 1.0)],
        [actors(3, 0.1 + 0.2), trainers(1, 1.0, 1.0)],
        [actors(2, 2.0), trainers(1, 1.0, 1.0)],
        [actors(2, 0.0, 0.5)],
        [actors(4, 1.0), trainers(1, 0.0, 1.0)],
    ],
)
def test_what_fits_on_the_nodes_is_let_through(wanted: list[Reservation]) -> None:
    assert unschedulable_reason(wanted, [GPU_NODE, CPU_NODE, CPU_NODE]) is None


@pytest.mark.parametrize(
    ("wanted", "nodes"),
    [
        ([actors(1, 2.0)], [{"CPU": 1.0}] * 3),
        ([trainers(1, 1.0, 1.0)], [{"CPU": 8.0}, {"GPU": 4.0}]),
        ([actors(1, 1.0)], []),
    ],
)
def test_a_process_that_no_single_node_can_hold_is_named(wanted: list[Reservation], nodes: list[Resources]) -> None:
    found = unschedulable_reason(wanted, nodes)
    assert found is not None and "and no node of the cluster has that" in found and wanted[0].settings in found


@pytest.mark.parametrize(
    ("wanted", "nodes"),
    [
        ([actors(4, 1.0)], [{"CPU": 1.0}] * 3),
        ([actors(2, 2.0)], [{"CPU": 3.0}, {"CPU": 1.0}]),
        ([actors(2, 1.0), trainers(2, 1.0, 1.0)], [GPU_NODE, GPU_NODE, {"CPU": 1.0}]),
    ],
)
def test_processes_that_fit_one_by_one_but_not_together_are_refused(
    wanted: list[Reservation], nodes: list[Resources]
) -> None:
    found = unschedulable_reason(wanted, nodes)
    assert found is not None and "too small for" in found and all(str(reservation) in found for reservation in wanted)


def test_the_sentence_says_what_was_asked_what_is_there_and_what_to_change() -> None:
    assert unschedulable_reason([trainers(2, 4.0, 1.0)], [CPU_NODE, CPU_NODE, GPU_NODE]) == (
        "one training worker reserves 4 CPU and 1 GPU, and no node of the cluster has that (1 node of 1 CPU and 1 GPU, "
        "2 nodes of 2 CPU): add a larger node, or lower training.num_workers"
    )
    assert format_nodes([]) == "no node"
