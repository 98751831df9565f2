import json

import pytest

from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.planning.plan import Plan, make_plan
from pipeline.planning.rates import DriverRates, SearchRates
from pipeline.planning.stages import Stage
from tests.unit.planning.samples import CONFIG, cluster, rates


def with_cluster(**changes: object) -> RunConfig:
    return CONFIG.model_copy(update={"cluster": CONFIG.cluster.model_copy(update=changes)})


def with_mining(**changes: object) -> RunConfig:
    return CONFIG.model_copy(update={"mining": CONFIG.mining.model_copy(update=changes)})


def stage(plan: Plan, name: str) -> Stage:
    return next(stage for stage in plan.stages if stage.name == name)


def seconds(plan: Plan, name: str) -> float:
    return stage(plan, name).seconds


def test_products_grow_with_the_square_and_encoding_with_the_number_of_examples() -> None:
    small, large = (make_plan(CONFIG, rates(), cluster(), number, 2) for number in (10_000, 100_000))
    assert seconds(small, "mine") == pytest.approx(10_000 * 10_000 * 1e-6 / 2)
    assert seconds(large, "mine") == pytest.approx(100 * seconds(small, "mine"))
    assert seconds(small, "embed") == pytest.approx(10_000 * 1.03e-3 / 2)
    assert seconds(large, "embed") == pytest.approx(10 * seconds(small, "embed"))
    assert small.bound_by.name == "mine" and small.bound_by.bound_by in ("actors", "cores")
    assert small.seconds == pytest.approx(5.0 + sum(seconds(small, name) for name in ("embed", "mine")))


def test_a_sample_of_the_candidates_takes_its_share_of_the_time() -> None:
    plan = make_plan(with_mining(candidate_fraction=0.1), rates(), cluster(), 10_000, 2)
    assert seconds(plan, "mine") == pytest.approx(5.0)


def test_actors_bring_nothing_beyond_the_cores_there_are() -> None:
    few, many = (make_plan(with_cluster(num_actors=number), rates(), cluster(), 10_000, 2) for number in (1, 8))
    assert seconds(few, "mine") == pytest.approx(100.0) and seconds(many, "mine") == pytest.approx(50.0)
    assert any("cluster.num_actors 2 would use all" in words for words in few.warnings)
    assert any("more than cluster.num_actors 2 bring nothing" in words for words in many.warnings)
    wide = make_plan(with_cluster(num_actors=8), rates(), cluster(num_nodes=4), 10_000, 2)
    assert seconds(wide, "mine") == pytest.approx(12.5)


def test_a_driver_that_cannot_keep_up_sets_the_pace_and_fewer_shards_help() -> None:
    slow = rates(driver=rates().driver.model_copy(update={"look_s_per_pair": 1e-2}))
    plan = make_plan(CONFIG, slow, cluster(), 10_000, 32)  # an actor searches eight in turn
    assert seconds(plan, "mine") == pytest.approx(4 * 40_000 * 1e-2)
    assert plan.bound_by.bound_by == "driver"
    (words,) = (words for words in plan.warnings if words.startswith("mine waits for the driver"))
    assert "cluster.num_shards" in words
    assert seconds(make_plan(CONFIG, slow, cluster(), 10_000, 16), "mine") == pytest.approx(seconds(plan, "mine") / 2)


def test_a_pair_takes_in_fewer_and_fewer_of_the_shards_answers() -> None:
    driver = DriverRates(**dict.fromkeys(DriverRates.model_fields, 0.0) | {"join_s_per_value": 1.0})
    for num_negatives, expected in ((1, 1 + 1 / 2 + 1 / 3 + 1 / 4), (2, 2 * (1 + 3 / 4 + 5 / 9 + 7 / 16))):
        plan = make_plan(with_mining(negatives_per_pair=num_negatives), rates(driver=driver), cluster(), 10_000, 32)
        assert seconds(plan, "mine") == pytest.approx(40_000 * expected, rel=1e-2)


def test_the_driver_takes_its_time_from_the_cores_it_shares_with_the_actors() -> None:
    driver = DriverRates(**dict.fromkeys(DriverRates.model_fields, 0.0) | {"look_s_per_pair": 5e-4})
    plan = make_plan(CONFIG, rates(driver=driver), cluster(), 10_000, 16)
    assert seconds(plan, "mine") == pytest.approx((100.0 + 40.0) / 2)
    assert stage(plan, "mine").bound_by == "cores"
    alone = make_plan(CONFIG, rates(driver=driver), cluster(num_cpus=16), 10_000, 16)
    assert seconds(alone, "mine") == pytest.approx(50.0)


def test_a_slow_network_sets_the_pace_of_many_nodes() -> None:
    quick = rates(mine=SearchRates(s_per_pair=0.0, s_per_look=0.0, s_per_product=1e-14))
    plan = make_plan(CONFIG, quick, cluster(num_nodes=2), 10_000_000, 2)
    questions = 10_000_000 * (400 + 4) + 40_000_000 * 16
    answers = 2 * 40_000_000 * 12 / 2
    vectors = 10_000_000 * 400 / 2
    assert plan.traffic.mine == pytest.approx((questions + answers + vectors, answers))
    one = make_plan(CONFIG, quick, cluster(), 10_000_000, 2)
    assert one.traffic.node_bytes == 0.0
    slow = make_plan(with_cluster(num_actors=4), quick, cluster(num_nodes=2), 10_000_000, 2)
    assert seconds(slow, "mine") == pytest.approx((questions + answers + vectors) / 2e9)
    assert stage(slow, "mine").bound_by == "network"


def test_money_is_the_price_of_all_nodes_for_as_long() -> None:
    planned = cluster(num_nodes=3)
    priced = type(planned)(planned.machine, 3, planned.network_bytes_per_s, price_per_node_hour=2.0)
    plan = make_plan(CONFIG, rates(), priced, 10_000, 2)
    assert plan.cost == pytest.approx(3 * 2.0 * plan.seconds / 3600)


@pytest.mark.parametrize(
    ("changes", "where", "setting"),
    [
        ({"memory_bytes": 5e8}, "memory of a node", "cluster.num_actors"),
        ({"memory_bytes": 1.3e9}, "memory of the driver's node", "mining.audit.num_neighbours"),
        ({"disk_free_bytes": 1e6}, "disk of a training node", "cluster.cache_dir"),
    ],
)
def test_what_does_not_fit_is_said_with_the_setting_to_change(
    changes: dict[str, float], where: str, setting: str
) -> None:
    def shortages(plan: Plan) -> list[str]:
        return [words for words in plan.warnings if "do not fit" in words]

    assert shortages(make_plan(CONFIG, rates(), cluster(), 1_000_000, 2)) == []
    found = shortages(make_plan(CONFIG, rates(), cluster(1, **changes), 1_000_000, 2))
    assert [words for words in found if words.startswith(where) and setting in words], found


def test_a_search_of_days_is_said_with_the_sample_that_brings_it_near_one() -> None:
    plan = make_plan(CONFIG, rates(), cluster(), 1_000_000, 2)
    assert any("mining.candidate_fraction 0.2" in words and "rank 5 " in words for words in plan.warnings)
    dialled = make_plan(with_mining(candidate_fraction=0.2), rates(), cluster(), 1_000_000, 2)
    assert seconds(dialled, "mine") == pytest.approx(1e12 * 1e-6 * 0.2 / 2)


def test_actors_on_gpus_are_as_many_as_gpus_and_their_shards_must_fit() -> None:
    config = with_cluster(num_actors=2, gpus_per_actor=1.0)
    plan = make_plan(config, rates(), cluster(num_nodes=2, num_gpus=1, gpu_memory_bytes=1e9), 10_000, 2)
    assert seconds(plan, "mine") == pytest.approx(50.0)
    small = make_plan(config, rates(), cluster(num_nodes=2, num_gpus=1, gpu_memory_bytes=1e6), 10_000, 2)
    assert any(words.startswith("memory of a GPU") and "mining.candidate_fraction" in words for words in small.warnings)
    none = make_plan(config, rates(), cluster(), 10_000, 2)
    assert any("the nodes have none" in words for words in none.warnings)


def test_a_plan_is_a_json_document_with_what_bounds_it() -> None:
    document = json.loads(json.dumps(make_plan(CONFIG, rates(), cluster(), 10_000, 2).to_dict()))
    assert document["bound_by"]["name"] == "mine" and all(need["fits"] for need in document["needs"])
    assert document["traffic"]["store_bytes"] == pytest.approx(1e6 + 2 * 4.08e6 + 20_000 * 10)


def test_rates_of_another_config_are_refused_by_the_name_of_the_setting() -> None:
    rates().check_fit(with_cluster(num_actors=64, num_shards=7))
    with pytest.raises(InputError, match=r"mining\.negatives_per_pair 1, and the config says 5"):
        rates().check_fit(with_mining(negatives_per_pair=5))
