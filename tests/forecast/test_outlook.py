"""`rlsys plan`: machines as they are described, costs as they are measured, and what follows from both."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.runs import MakeSpec

from rlsys import cli, config, registry
from rlsys.api import Algorithm
from rlsys.errors import ConfigError, EnvError
from rlsys.forecast import outlook
from rlsys.forecast.calibration import measure
from rlsys.forecast.costs import Acting, Costs, Footprint, Learning, Storing
from rlsys.forecast.prediction import predict
from rlsys.runs.resolve import resolve
from rlsys.runtime.cluster.capacity import check_memory, check_reserved, most_items
from rlsys.runtime.cluster.machine_types import MachineType, from_file, this_machine
from rlsys.runtime.launch.launch import launch

CLUSTER = Path(__file__).parents[2] / "cluster"
GIB = 2**30
LAPTOP = MachineType("this machine", "", 1, 4, 4, 0, 16 * GIB)
PROCESS = Footprint(100 * 2**20, 50 * 2**20)
COSTS = Costs(
    Acting(0.004, 0.002, 0.001, 0.0, 0.001, 1.0, 20.0, 2_000.0, PROCESS),
    Storing(1e-6, 1e-4, 100.0, 16, 4_000.0, PROCESS),
    Learning(0.01, 0.01, "cpu", 0.001, 1e5, PROCESS),
)


def test_machines_of_a_cluster_file_are_known_by_their_types() -> None:
    assert from_file(CLUSTER / "gpu.yaml") == [
        MachineType("head", "head", 1, 8, 0, 0, 32 * GIB),
        MachineType("learner", "learner", 1, 16, 0, 1, 64 * GIB),
        MachineType("rollout", "rollout", 8, 16, 16, 0, 32 * GIB),
    ]
    assert [found.memory_bytes // GIB for found in from_file(CLUSTER / "gcp.yaml")] == [32, 64, 64]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("provider: {type: local}", "has no available_node_types"),
        ("available_node_types: {worker: {node_config: {InstanceType: strange}}}", "nothing is known about the mach"),
    ],
)
def test_a_file_that_does_not_say_how_large_its_machines_are_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        from_file(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError, match="no cluster file"):
        from_file(tmp_path / "none.yaml")


def test_no_shipped_experiment_is_refused_on_a_small_machine() -> None:
    small = [replace(LAPTOP, cores=2, cpus=2, memory_bytes=8 * GIB)]
    checked = 0
    for name in config.experiment_names():
        loaded = config.load(name)
        algorithm = registry.get(loaded.experiment.algorithm)
        if isinstance(algorithm, Algorithm):
            try:
                spec = resolve(loaded, algorithm, num_cpus=2, num_gpus=0)
            except EnvError:  # a simulator that is not installed here
                continue
            check_memory(spec, small)
            checked += 1
    assert checked > 5


def test_what_the_machines_cannot_hold_is_refused_with_what_and_where(make_spec: MakeSpec) -> None:
    with pytest.raises(ConfigError, match=r"replay of 1,000,000,000 items .* this machine has 16.0 GiB of memory"):
        check_memory(make_spec({"window_size": 10**9}, run={"training_steps": 10**9}), [LAPTOP])
    with pytest.raises(ConfigError, match=r"rollout_workers = 5,000 take at least 195.3 GiB; this machine has 16.0 G"):
        check_memory(make_spec(runtime={"rollout_workers": 5_000}), [LAPTOP])
    with pytest.raises(ConfigError, match=r"10,000,000 environments .* take at least 22.* GiB; this machine has 16.0"):
        check_memory(make_spec(runtime={"rollout_workers": 100, "environments_per_worker": 100_000}), [LAPTOP])
    with pytest.raises(ConfigError, match=r"rollout_workers = 8 reserve 1 CPUs each .* this machine has 4\."):
        check_reserved(make_spec(runtime={"rollout_workers": 8, "rollout_cpus": 1}), [LAPTOP])


def test_a_table_that_its_budget_never_fills_is_not_refused(make_spec: MakeSpec) -> None:
    spec = make_spec({"window_size": 10**9, "samples_per_insert": 4.0}, run={"training_steps": 1_000})
    assert most_items(spec) == 200 + (1_000 * 16 + spec.store.error_buffer) / 4
    check_memory(spec, [LAPTOP])


def test_a_budget_of_bytes_bounds_what_replay_takes(make_spec: MakeSpec) -> None:
    spec = make_spec({"window_size": 10**9}, run={"training_steps": 10**9}, runtime={"replay_bytes": 2 * GIB})
    assert spec.store.max_bytes == 2 * GIB
    check_memory(spec, [LAPTOP])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "muzero-cartpole",
            r"replay_bytes = 1,000 leaves a shard 1,000 bytes; two segments can take [\d,]+\. Raise it",
        ),
        ("ppo-cartpole", "runtime.replay_bytes = 1,000, but ppo has a queue, which holds what is waited for"),
    ],
)
def test_a_budget_of_bytes_that_cannot_work_is_refused(name: str, reason: str) -> None:
    loaded = config.load(name, overrides=["runtime.replay_bytes=1000"])
    with pytest.raises(ConfigError, match=reason):
        resolve(loaded, registry.get_algorithm(loaded.experiment.algorithm, name), num_cpus=2, num_gpus=0)


def test_a_run_that_cannot_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    settings = [f"run.directory={tmp_path}", "muzero.window_size=100000000000", "run.wandb=disabled"]
    loaded = config.load("muzero-cartpole", overrides=settings)
    with pytest.raises(ConfigError, match="replay of 100,000,000,000 items"):
        launch(loaded, inline=True, resume=None, overrides=())
    assert not list(tmp_path.iterdir())


def test_the_learner_binds_where_the_ratio_asks_for_more_updates_than_it_can_do(make_spec: MakeSpec) -> None:
    spec = make_spec({"samples_per_insert": 4.0}, runtime={"rollout_workers": 8})
    prediction = predict(spec, COSTS, [LAPTOP])
    assert prediction.binding == "the learner"
    assert prediction.updates_per_s == pytest.approx(1 / 0.0106, rel=0.1)
    assert prediction.env_steps_per_s == pytest.approx(prediction.updates_per_s * 16 / 4)


def test_refreshing_rows_costs_what_deciding_does_in_rollout_workers_or_in_others(make_spec: MakeSpec) -> None:
    section, device = {"samples_per_insert": None}, {"reanalyse_device": "cpu"}
    decided = COSTS.acting.act_s / 4
    without, shared, apart = (
        predict(make_spec({**section, "refreshed_share": share}, runtime={**device, **workers}), COSTS, [LAPTOP])
        for share, workers in ((0.0, {}), (0.8, {}), (0.8, {"reanalyse_workers": 2}))
    )
    assert "refreshing" not in without.cpu_s and not without.cpu_s["reanalysing"]
    assert shared.cpu_s["refreshing"] == pytest.approx(4 * decided)
    assert shared.env_steps_per_s < without.env_steps_per_s
    assert apart.cpu_s["reanalysing"] == pytest.approx(4 * decided)
    bounds = {bound.part: bound.env_steps_per_s for bound in apart.bounds}
    assert bounds["reanalyse workers"] == pytest.approx(2 / (4 * decided))
    assert {part.kind: part.count for part in apart.memory}["reanalyse worker"] == 2


def test_a_slow_simulator_binds_until_there_are_enough_workers(make_spec: MakeSpec) -> None:
    slow = replace(COSTS, acting=replace(COSTS.acting, sleep_s=0.1))
    section = {"samples_per_insert": 0.1}
    one, ten = (
        predict(make_spec(section, runtime={"rollout_workers": workers}), slow, [LAPTOP]) for workers in (1, 10)
    )
    assert one.binding == "the environments" == ten.binding
    assert one.env_steps_per_s == pytest.approx(4 / 0.107, rel=0.05)
    assert ten.env_steps_per_s == pytest.approx(10 * one.env_steps_per_s)
    many = predict(make_spec(section, runtime={"rollout_workers": 200}), slow, [replace(LAPTOP, memory_bytes=64 * GIB)])
    assert many.binding.startswith("the 4 cores of this machine, most of all for environments")


def test_memory_counts_every_process_and_is_compared_with_the_machine(make_spec: MakeSpec) -> None:
    spec = make_spec(runtime={"rollout_workers": 3, "replay_shards": 2}, run={"evaluate_every_learner_steps": 5})
    prediction = predict(spec, COSTS, [LAPTOP])
    counts = {kind.kind: kind.count for kind in prediction.memory}
    assert counts["rollout worker"] == 3 and counts["replay shard"] == 2 and counts["evaluator"] == 1
    assert prediction.replay_bytes == most_items(spec) * 100.0
    with pytest.raises(ConfigError, match=r"checking needs .* GiB on this machine, .* 'rollout worker'; there are 1.0"):
        predict(spec, COSTS, [replace(LAPTOP, memory_bytes=GIB)])


def test_a_learner_on_a_device_that_is_not_here_is_not_made_up(make_spec: MakeSpec) -> None:
    spec = make_spec({"samples_per_insert": 4.0}, runtime={"learner_device": "cuda"})
    machines = [replace(LAPTOP, gpus=1)]
    prediction = predict(spec, COSTS, machines)
    assert prediction.learner_device == "cpu"
    assert "the learner" not in [bound.part for bound in prediction.bounds]


def test_parts_are_measured_as_they_are(make_spec: MakeSpec) -> None:
    spec = make_spec({"samples_per_insert": 0.5}, {"environments_per_worker": 2}, env_id="rlsys/Sleeping-v0")
    costs = measure(spec, 0.2)
    assert 0.018 < costs.acting.sleep_s < 0.03
    assert 0.0 < costs.acting.cpu_s < 0.018
    assert costs.storing.batch_items == 16
    assert 12 + 12 < costs.storing.item_bytes < 1_000
    assert costs.learning.weights_bytes == 64
    prediction = predict(spec, costs, [this_machine()])
    assert prediction.binding == "the environments"
    assert 60 < prediction.env_steps_per_s < 105


def test_the_command_prints_what_binds_and_refuses_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rlsys", "plan", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    measured: list[Any] = []
    monkeypatch.setattr(outlook, "measure", lambda *arguments: (measured.append(arguments), COSTS)[1])
    status, out, _ = run("muzero-cartpole", "runtime.rollout_workers=1")
    assert status == 0 and "bound: the learner" in out and out.splitlines()[-1].startswith("Bound by the learner")
    status, out, _ = run("muzero-cartpole", "--json")
    assert json.loads(out)["binding"] and len(measured) == 2
    status, out, _ = run("muzero-breakout", "--profile", "gpu-48", "--machines", str(CLUSTER / "gpu.yaml"))
    assert status == 0 and "unknown on cuda" in out and "at most" in out
    measured.clear()
    status, _, err = run("muzero-breakout", "--profile", "gpu-48", "--machines", str(CLUSTER / "cpu.yaml"))
    assert status == 2 and err.count("\n") == 1 and "the cluster has no" in err and not measured
    status, _, err = run("muzero-breakout", "muzero.window_size=900000000000")
    assert status == 2 and err.count("\n") == 1 and "GiB" in err and not measured
