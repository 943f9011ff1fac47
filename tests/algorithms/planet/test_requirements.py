"""What is refused before anything starts: in one line that says what to do."""

from typing import Any

import pytest
from support.command_line import rlsys

from rlsys import config, registry
from rlsys.errors import ConfigError
from rlsys.runs.resolve import resolve


def refused(*overrides: str) -> str:
    loaded = config.load("planet-cartpole-swingup", overrides=overrides)
    with pytest.raises(ConfigError) as raised:
        resolve(loaded, registry.get_algorithm("planet", ""), num_cpus=2, num_gpus=0)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["planet.cw_tau=[1,4]", "planet.model_size=[10,10,10]"], "makes 2 cells. Give one number for all cells, or 2"),
        (["planet.state_size=[10,10]"], "planet.state_size = [10, 10] with planet.cw_tau = [1]"),
        (["planet.cw_tau=[2,4]"], "the first cell ticks with every frame"),
        (["planet.cell_as_prior=0.1"], "planet.cell_as_prior = 0.1"),
        (["planet.cell_as_prior=0.1", "planet.cw_tau=[1,4]", "planet.state_size=[10,20]"], "states of one size"),
        (["planet.model=rssm_ma", "planet.ma_ppn=1"], "leaves 128 for the slow cell and 0 for the fast one"),
        (["planet.model=rssm_ma", "planet.ma_ppn=0.01"], "both need at least 1"),
        (["planet.tap_cell=rssm", "planet.model=ssm"], "it stands beside one cell with a belief"),
        (["planet.tap_cell=rssm", "planet.cw_tau=[1,4]"], "it stands beside one cell with a belief"),
        (["planet.planner.kind=tree"], "tree search needs discrete actions"),
        (
            ["env.observation=state", "planet.normalize_pictures=true"],
            "planet.normalize_pictures = true with 'dm_control/cartpole-swingup', which shows",
        ),
        (["env.frame_size=[4,4]"], "planet's decoder draws 8 to 156 on a side"),
        (["env.frame_size=[200,200]"], "planet's decoder draws 8 to 156 on a side"),
        (["env.frame_size=[8,100]"], "not far above twice the other"),
        (["env.stack_states=4"], "Set env.stack_states=1"),
        (["planet.length=127"], "have 126 frames at most; no window would ever fit. Set planet.length=126 or less"),
        (["env.action_repeat=100"], "episodes have 11 frames at most"),
        (["env.max_episode_steps=100"], "episodes have 13 frames at most"),
        (["planet.batch_size=5", "runtime.learners=2"], "planet.batch_size = 5 is not divisible by 2 learners"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(settings: list[str], said: str) -> None:
    assert said in refused(*settings)


def test_to_hold_out_every_episode_is_refused() -> None:
    with pytest.raises(ConfigError, match="something has to be learned from"):
        config.load("planet-cartpole-swingup", overrides=["planet.held_out_every=1"])


@pytest.mark.parametrize("settings", [["planet.planner.elites=200", "planet.planner.candidates=100"]])
def test_more_elites_than_candidates_are_refused(settings: list[str], tmp_path: Any) -> None:
    done = rlsys(tmp_path, "launch", "planet-cartpole-swingup", *settings, "--inline")
    assert done.returncode == 2
    assert "Lower elites, or raise candidates" in done.stderr
    assert done.stderr.count("\n") == 1
