"""Episodes of one environment while it is collected from."""

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.vector import BatchedEnv
from rlsys.testing.worlds import ACTIONS
from rlsys.viewer import tap as tap_module
from rlsys.viewer.tap import EpisodeTap

RIGHT, UP = ACTIONS.index("RIGHT"), ACTIONS.index("UP")


def play(env: BatchedEnv, tap: EpisodeTap, episodes: int) -> list[np.ndarray]:
    """Goes right until so many episodes of the first environment are over; returns all that is seen of it."""
    seen = [env.observation[0].copy()]
    while episodes:
        result = env.step(np.array([RIGHT, UP]))
        tap.step(result)
        seen.append(result.observation[0].copy())
        if result.terminated[0] or result.truncated[0]:
            episodes -= 1
            seen.append(env.observation[0].copy())
    return seen


@pytest.mark.parametrize("num_stack", [1, 3])
def test_whole_episodes_of_the_first_environment_are_handed_over(num_stack: int) -> None:
    env = BatchedEnv(EnvConfig(id="rlsys/Dot-v0", stack_states=num_stack), [0, 1])
    tap = EpisodeTap(env)
    play(env, tap, 1)
    assert tap.take() == [], "it may have begun within one"
    seen = play(env, tap, 1)[:-1]
    (episode,) = tap.take()
    single = [frame[-1] if num_stack > 1 else frame for frame in seen]
    assert np.array_equal(episode.observation, np.stack(single)) and episode.observation.dtype == np.uint8
    assert episode.action.tolist() == [RIGHT] * (len(seen) - 1)
    assert episode.terminated.tolist() == [False] * (len(seen) - 2) + [True]
    assert episode.episode_return == len(seen) - 1, "a step to the right is rewarded"
    env.close()


def test_episodes_come_seldom_unless_they_are_better(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(tap_module.time, "monotonic", lambda: now[0])
    env = BatchedEnv(EnvConfig(id="rlsys/Dot-v0"), [0, 1])
    tap = EpisodeTap(env)
    play(env, tap, 2)
    assert len(tap.take()) == 1
    play(env, tap, 1)
    tap._best = 1e9
    assert tap._best_waits or tap.take() == [], "it is no better, and it is too soon"
    now[0] = 31.0
    assert len(tap.take()) == 1
    tap._best = -1.0
    play(env, tap, 1)
    assert len(tap.take()) == 1, "it is better than all before"
    env.close()


def test_episodes_that_are_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    env = BatchedEnv(EnvConfig(id="rlsys/Dot-v0"), [0, 1])
    tap = EpisodeTap(env)
    play(env, tap, 1)
    length = len(play(env, tap, 1)) - 2
    tap.take()
    for most, kept in ((length - 1, 0), (length, 1)):
        monkeypatch.setattr(tap_module, "MOST_KEPT", most)
        monkeypatch.setattr(tap, "_due", 0.0)
        play(env, tap, 1)
        assert len(tap.take()) == kept
    env.close()
