"""Files for `ray up`: Ray's own validation, and what it does not look at."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
FILES = sorted(path.name for path in CLUSTER.glob("*.yaml"))
LISTS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
)
PROVIDER_KEYS = {
    "aws": {"type", "region", "availability_zone", "cache_stopped_nodes"},
    "gcp": {"type", "region", "availability_zone", "project_id", "cache_stopped_nodes"},
    "local": {"type", "head_ip", "worker_ips"},
}
MACHINES = {
    "aws": lambda config: re.fullmatch(r"[a-z]\d[a-z]*\.\w+", config["InstanceType"]),
    "gcp": lambda config: re.fullmatch(r"[a-z]\d[a-z]?-[a-z]+-\d+", config["machineType"]),
}
"""Provider -> whether a node's configuration names a machine."""


def read(name: str) -> dict[str, Any]:
    tree = yaml.safe_load((CLUSTER / name).read_text())
    assert isinstance(tree, dict)
    return tree


def prepared(tree: dict[str, Any]) -> dict[str, Any]:
    """The configuration as `ray up` sees it, after Ray's own validation."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(copy.deepcopy(tree))
    validate_config(config)
    return config


def test_there_is_a_file_for_gpus_on_two_clouds_for_cpus_and_for_own_machines():
    assert FILES == ["cpu.yaml", "gcp.yaml", "gpu.yaml", "local.yaml"]


@pytest.mark.parametrize("name", FILES)
def test_ray_accepts_the_file_and_adds_nothing_of_its_own_to_its_lists(name):
    tree = read(name)
    config = prepared(tree)
    for key in (*LISTS, "file_mounts"):
        common = tree["setup_commands"] if key in ("head_setup_commands", "worker_setup_commands") else []
        assert config[key] == (common + tree[key] if common else tree[key]), key


@pytest.mark.parametrize("name", FILES)
def test_a_misspelt_key_would_be_noticed(name):
    from jsonschema.exceptions import ValidationError

    with pytest.raises(ValidationError):
        prepared({**read(name), "idle_timeout": 5})


@pytest.mark.parametrize("name", FILES)
def test_every_list_is_written_out_so_that_no_nightly_build_is_installed(name):
    tree = read(name)
    for key in LISTS:
        assert isinstance(tree.get(key), list), f"{key} would come from Ray's defaults"
    assert "file_mounts" in tree
    assert not re.search(r"nightly|latest|dev0", str(prepared(tree)))


@pytest.mark.parametrize("name", FILES)
def test_the_dashboard_listens_on_the_head_alone_and_every_node_asks_for_the_token(name):
    tree = read(name)
    (head,) = [command for command in tree["head_start_ray_commands"] if "--head" in command]
    (worker,) = [command for command in tree["worker_start_ray_commands"] if "--address=" in command]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker
    assert "--port=6379" in head
    assert tree["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    container = tree["docker"].get("run_options", [])
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token" in command or "-e RAY_AUTH_MODE=token" in container
        assert "RAY_worker_niceness=0" in command or "-e RAY_worker_niceness=0" in container


@pytest.mark.parametrize("name", FILES)
def test_the_provider_has_no_key_that_ray_would_silently_ignore(name):
    provider = read(name)["provider"]
    assert provider.keys() <= PROVIDER_KEYS[provider["type"]]


@pytest.mark.parametrize("name", [name for name in FILES if name != "local.yaml"])
def test_numbers_of_machines_fit_together_and_the_head_runs_no_work(name):
    tree = read(name)
    types = tree["available_node_types"]
    head = types[tree["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert types["learner"]["resources"]["CPU"] == 0, "rollout workers would take the learner's cores"
    workers = {kind: node for kind, node in types.items() if node is not head}
    for kind, node in workers.items():
        assert 0 <= node["min_workers"] <= node["max_workers"], kind
    assert sum(node["max_workers"] for node in workers.values()) == tree["max_workers"]
    for kind, node in types.items():
        assert node["labels"] == {"rlsys.io/role": kind}
        assert MACHINES[tree["provider"]["type"]](node["node_config"]), kind


def test_own_machines_have_their_roles_the_head_runs_no_work_and_ray_is_found_by_ray_down():
    tree = read("local.yaml")
    (head,) = [command for command in tree["head_start_ray_commands"] if "--head" in command]
    (worker,) = [command for command in tree["worker_start_ray_commands"] if "--address=" in command]
    assert "--labels=rlsys.io/role=learner" in head
    assert "--num-cpus=0" in head, "rollout workers would be counted on cores that their label keeps them from"
    assert "--labels=rlsys.io/role=rollout" in worker
    (path,) = [command for command in tree["setup_commands"] if "~/.bashrc" in command]
    assert "PATH=~/rlsys-env/bin:$PATH" in path
    assert "RAY_AUTH_MODE=token" in path


@pytest.mark.parametrize("name", [name for name in FILES if name != "local.yaml"])
def test_only_machines_whose_loss_costs_nothing_are_spot_machines(name):
    for kind, node in read(name)["available_node_types"].items():
        config = node["node_config"]
        is_spot = config.get("InstanceMarketOptions") == {"MarketType": "spot"}
        is_spot |= {"preemptible": True} in config.get("scheduling", [])
        assert is_spot == (kind == "rollout"), kind


@pytest.mark.parametrize("name", ["gpu.yaml", "gcp.yaml"])
def test_a_gpu_cluster_starts_with_what_its_profile_asks_for(name):
    profile = yaml.safe_load((CLUSTER.parent / "launch" / "gpu-48.yaml").read_text())["runtime"]
    types = read(name)["available_node_types"]
    config = types["rollout"]["node_config"]
    cores = {"c6i.4xlarge": 16, "c2-standard-16": 16}[config.get("InstanceType") or config["machineType"]]
    assert types["rollout"]["resources"].get("CPU", cores) == cores
    assert types["rollout"]["min_workers"] * cores >= profile["rollout_workers"] * profile["rollout_cpus"]
    assert types["learner"]["min_workers"] >= profile["learners"] * profile["learner_gpus"]
    assert profile["address"] == "auto"


@pytest.mark.parametrize("name", FILES)
def test_no_file_holds_a_secret_or_a_real_address(name):
    text = (CLUSTER / name).read_text()
    assert not re.search(r"AKIA|BEGIN [A-Z ]*PRIVATE KEY|WANDB_API_KEY|password\s*[:=]|secret\s*[:=]", text)
    for address in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text):
        assert address == "127.0.0.1" or address.startswith("192.0.2."), f"{address} is not reserved for documentation"


@pytest.mark.parametrize("name", FILES)
def test_each_file_says_how_to_start_and_stop_it_and_what_was_tried(name):
    comment = "".join(re.findall(r"^#.*\n", (CLUSTER / name).read_text(), re.MULTILINE))
    for phrase in (f"ray up cluster/{name}", f"ray down cluster/{name}", "Tried so far:", "rlsys launch"):
        assert phrase in comment, phrase
