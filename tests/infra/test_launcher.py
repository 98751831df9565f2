"""The cluster launcher's files, by Ray's own loader, schema and scheduler, and for what the schema cannot see."""

import re
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from tests.infra.files import INFRA, LAUNCHER, PROJECT, documents

ON_PREM = INFRA / "on-prem/ray_cluster.yaml"
STACK = (INFRA / "aws/motherlode.yaml").read_text()
GPUS = {"gpu", "gpu-on-demand"}


def prepared(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = prepare_config(documents(path)[0])
    return config


@pytest.fixture(scope="module")
def launcher() -> dict[str, Any]:
    return prepared(LAUNCHER)


@pytest.fixture(scope="module")
def node_types(launcher: dict[str, Any]) -> dict[str, Any]:
    types: dict[str, Any] = launcher["available_node_types"]
    return types


@pytest.mark.parametrize("path", [LAUNCHER, ON_PREM], ids=["aws", "on-prem"])
def test_rays_own_loader_and_schema_take_the_file(path: Path) -> None:
    validate_config(prepared(path))


@pytest.mark.parametrize("path", [LAUNCHER, ON_PREM], ids=["aws", "on-prem"])
def test_every_ray_starts_with_a_token_that_is_not_in_the_file(path: Path) -> None:
    config = prepared(path)
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in starts if "ray start" in command)
    mounted = {remote: local for remote, local in config["file_mounts"].items() if remote.endswith(".ray/auth_token")}
    assert list(mounted.values()) == ["~/.ray/auth_token"]
    assert "RAY_AUTH_TOKEN" not in path.read_text()


@pytest.mark.parametrize("path", [LAUNCHER, ON_PREM], ids=["aws", "on-prem"])
def test_the_dashboard_listens_to_its_own_machine_only(path: Path) -> None:
    (start,) = (command for command in prepared(path)["head_start_ray_commands"] if "ray start --head" in command)
    assert "--dashboard-host=127.0.0.1" in start


def test_no_actor_is_placed_on_the_head(launcher: dict[str, Any], node_types: dict[str, Any]) -> None:
    assert node_types[launcher["head_node_type"]]["resources"] == {"CPU": 0}
    assert any("--num-cpus=0" in command for command in launcher["head_start_ray_commands"])


def test_there_are_gpu_and_cpu_workers_on_spot_each_with_the_same_on_demand(node_types: dict[str, Any]) -> None:
    assert node_types["gpu"]["resources"]["GPU"] == 1 and "GPU" not in node_types["cpu"]["resources"]
    for group in ("gpu", "cpu"):
        spot, on_demand = node_types[group], node_types[f"{group}-on-demand"]
        assert spot["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert spot["resources"] == on_demand["resources"] and spot["priority"] > on_demand["priority"]
        same = {key: value for key, value in spot["node_config"].items() if key != "InstanceMarketOptions"}
        assert same == on_demand["node_config"]


@pytest.mark.parametrize(("refused", "started"), [((), {"gpu"}), (("gpu",), GPUS)])
def test_where_spot_is_refused_rays_scheduler_starts_on_demand(
    launcher: dict[str, Any], refused: tuple[str, ...], started: set[str]
) -> None:
    config = AutoscalingConfig(launcher, skip_content_hash=True)
    wanted = [ResourceRequestUtil.make({"GPU": 1})] * 4
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=launcher["max_workers"],
        resource_requests=ResourceRequestUtil.group_by_count(wanted),
        recoverable_resource_availabilities=dict.fromkeys(refused, 0.0),
    )
    launches = ResourceDemandScheduler(None).schedule(request).to_launch
    assert {launch.instance_type for launch in launches} & GPUS == started
    assert sum(launch.count for launch in launches if launch.instance_type in GPUS) == 4


def test_nodes_have_roles_and_no_keys_and_what_they_write_is_encrypted(node_types: dict[str, Any]) -> None:
    for node_type in node_types.values():
        node = node_type["node_config"]
        assert f"InstanceProfileName: {node['IamInstanceProfile']['Name']}," in STACK
        assert node["MetadataOptions"]["HttpTokens"] == "required"  # IMDSv2
        assert all(mapping["Ebs"]["Encrypted"] for mapping in node["BlockDeviceMappings"])
        assert not {"KeyName", "UserData"} & set(node)


def test_the_security_group_is_the_stacks_and_not_rays_own_which_opens_ssh_to_the_world(
    launcher: dict[str, Any],
) -> None:
    assert f"GroupName: {launcher['provider']['security_group']['GroupName']}\n" in STACK


def test_the_launcher_may_start_and_end_nodes_of_this_cluster(launcher: dict[str, Any]) -> None:
    assert launcher["cluster_name"].startswith("motherlode")  # what the stack's policy asks of the tag
    assert 'ray-cluster-name": "motherlode*"' in STACK


@pytest.mark.parametrize("path", [LAUNCHER, ON_PREM], ids=["aws", "on-prem"])
def test_nodes_install_this_checkout_at_the_tested_versions_and_nothing_else(path: Path) -> None:
    config = prepared(path)
    setup = [*config["head_setup_commands"], *config["worker_setup_commands"]]
    assert all("pip install" not in command for command in setup)  # Ray's defaults would take another Ray
    assert any("motherlode/infra/install.sh" in command for command in config["head_setup_commands"])
    assert "--constraint constraints.txt" in (INFRA / "install.sh").read_text()
    for version in re.findall(r"python(3\.\d+)", " ".join(setup)):
        assert version >= PROJECT["requires-python"].removeprefix(">=")
