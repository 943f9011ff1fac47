"""`rlsys list` and `rlsys show`."""

import sys
from pathlib import Path

import pytest
from support.command_line import Invoke

from rlsys import config, registry


def test_list_shows_experiments_profiles_and_algorithms_in_plain_columns(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "algorithms" / "muzero").mkdir(parents=True)
    (tmp_path / "algorithms" / "muzero" / "__init__.py").write_text(
        '"""MuZero: plans in\na model. More."""\nimport nothing'
    )
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    monkeypatch.setattr(registry, "names", lambda: ["muzero"])
    monkeypatch.setattr(registry, "baseline_names", list)
    status, out, _ = invoke("list")
    assert status == 0
    lines = out.splitlines()
    assert "counting  checking   rlsys/Counting-v0  Counts steps" in lines
    assert "laptop  One small worker" in lines
    assert "muzero  MuZero: plans in a model" in lines


def test_list_shows_families_of_environments_with_their_settings(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", None)
    status, out, _ = invoke("list", "--envs")
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert any(line.startswith("ProcGen games procgen-bigfish, ") and "distribution_mode" in line for line in lines)
    assert any(line.startswith("DMLab levels ") and "needs deepmind_lab. No package index" in line for line in lines)
    assert any(line.startswith("dm_control tasks dm_control/acrobot-swingup, ") for line in lines)


def test_show_tells_value_layer_default_and_meaning_of_every_field(invoke: Invoke) -> None:
    status, out, _ = invoke("show", "counting", "run.seed=7")
    assert status == 0
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines() if "." in line.split("  ")[0]}
    assert rows["run.seed"].startswith("7 override 0 Seed of everything random")
    assert rows["runtime.rollout_workers"].startswith("1 profile auto Processes that step environments")
    assert rows["run.tensorboard"].startswith("false experiment true ")
    assert rows["checking.batch_size"] == "16 default 16 Windows per update, over all ranks."
    assert set(rows) >= {f"env.{name}" for name in config.EnvConfig.model_fields}
    only_env = invoke("show", "counting", "--section", "env.")[1]
    assert "env.id" in only_env and "run.seed" not in only_env
