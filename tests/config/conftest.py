"""One algorithm, one experiment and one profile, in folders of their own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rlsys import registry
from rlsys.errors import ConfigError, did_you_mean
from rlsys.testing.algorithm import CHECKING

EXPERIMENT = """
algorithm: checking
env: {id: CartPole-v1}
run: {seed: 3, evaluation_episodes: 7}
checking: {batch_size: 32}
"""
PROFILE = """
runtime: {rollout_workers: 4, environments_per_worker: 8}
run: {evaluation_episodes: 5}
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """One algorithm, one experiment, the profile laptop; returns a function that adds files."""
    for kind in ("configs", "launch"):
        (tmp_path / kind).mkdir()
    algorithm = replace(CHECKING, debug={"batch_size": 2, "window_size": 50})

    def get(name: str) -> object:
        if name != "checking":
            raise ConfigError(f"no algorithm '{name}'.{did_you_mean(name, ['checking'])}")
        return algorithm

    monkeypatch.setattr(registry, "names", lambda: ["checking"])
    monkeypatch.setattr(registry, "get", get)
    monkeypatch.setattr("rlsys.config.experiment.data_folder", lambda kind: tmp_path / kind)

    def write(place: str, text: str) -> Path:
        path = tmp_path / f"{place}.yaml"
        path.write_text(text)
        return path

    write("configs/checking-cartpole", EXPERIMENT)
    write("launch/laptop", PROFILE)
    return write
