"""What a policy knows beside what is true: each moment of each episode once, in order, as `rlsys latents` reads it."""

from pathlib import Path

import numpy as np
import pytest
from support.games import COUNTING, ZeroPolicy

from rlsys.api import Decision
from rlsys.commands.latents import read_moments
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.evaluation.episodes import play_episodes
from rlsys.evaluation.moments import Moments
from rlsys.types import Array, State


class Remembering(ZeroPolicy):
    """Remembers twice what it has just been shown."""

    def initial_state(self, batch_size: int) -> State:
        return {"memory": np.zeros((batch_size, 3), np.float32)}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        decision = super().act(observation, state, explore=explore)
        return Decision(decision.action, {"memory": 2 * observation}, decision.extras)

    def latents(self, state: State) -> dict[str, Array]:
        return {"belief": state["memory"]}


def test_moments_of_all_episodes_are_written_one_after_the_other(tmp_path: Path) -> None:
    policy = Remembering()
    moments = Moments(policy, env_spec(COUNTING))
    statistics = play_episodes(policy, COUNTING, 5, seed=3, max_environments=2, on_decision=[moments])
    moments.write(tmp_path / "moments.npz")
    with np.load(tmp_path / "moments.npz") as file:
        assert sorted(file) == ["belief", "state"]
        np.testing.assert_array_equal(file["belief"], 2 * file["state"])
        steps = [step for length in statistics.lengths for step in range(length)]
        assert file["state"][:, 2].tolist() == steps
    assert set(read_moments(tmp_path / "moments.npz").state) == {"state[0]", "state[1]", "state[2]"}


def test_who_knows_nothing_and_what_is_not_told_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ZeroPolicy remembers nothing of where it is"):
        Moments(ZeroPolicy(), env_spec(COUNTING))
    picture = env_spec(AtariConfig(id="BreakoutNoFrameskip-v4", frame_size=(12, 12), frame_skip=4))
    with pytest.raises(ConfigError, match="shows pictures only; there must be something of the true state"):
        Moments(Remembering(), picture)
    moments = Moments(Remembering(), env_spec(COUNTING))
    play_episodes(Remembering(), COUNTING, 1, seed=0, on_decision=[moments])
    with pytest.raises(ConfigError, match="--latents"):
        moments.write(tmp_path / "missing" / "a.npz")
