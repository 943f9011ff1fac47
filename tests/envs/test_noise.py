"""Noise on observations: rounded and cut off, of a generator of its own, and the same again after a snapshot."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec, make, make_simulator
from rlsys.envs.snapshot import can_snapshot, get_state, set_state
from rlsys.errors import EnvError
from rlsys.types import Array

NOISY = EnvConfig(id="catch", observation_noise=0.1)
CLEAR = EnvConfig(id="catch")


def frames(config: EnvConfig, seed: int, count: int = 30) -> Array:
    env = make(config, seed)
    shown = [env.reset()[0]]
    for _ in range(count - 1):
        shown.append(np.array(env.step(0)[0]))
    env.close()
    return np.stack(shown)


def test_noise_is_normal_and_stays_within_bytes() -> None:
    clear, noisy = frames(CLEAR, 1, 300), frames(NOISY, 1, 300)
    assert noisy.dtype == np.uint8 and noisy.shape == clear.shape
    between = clear == 128  # far enough from both ends
    apart = noisy[between].astype(np.float64) - 128.0
    assert abs(apart.mean()) < 1.5 and abs(apart.std() - 25.5) < 1.5
    dark = noisy[clear == 0]
    assert 0.45 < (dark == 0).mean() < 0.55 and dark.max() > 50


def test_each_seed_has_noise_of_its_own_and_always_the_same() -> None:
    assert_array_equal(frames(NOISY, 1), frames(NOISY, 1))
    one, other = (frames(NOISY, seed, 1) for seed in (1, 2))
    assert (one != other).mean() > 0.4


def test_a_snapshot_goes_on_with_the_same_noise() -> None:
    env, other = make(NOISY, 1), make(NOISY, 2)
    env.reset()
    assert can_snapshot(env)
    other.reset()
    set_state(other, get_state(env))
    assert all(np.array_equal(env.step(1)[0], other.step(1)[0]) for _ in range(10))


def test_frames_of_a_stack_keep_their_noise() -> None:
    env = make(NOISY.model_copy(update={"stack_states": 2}), 1)
    env.reset()
    before = env.step(0)[0]
    assert_array_equal(env.step(0)[0][0], before[1])


def test_it_is_drawn_in_evaluations_and_needs_single_environments() -> None:
    seen = make(NOISY, 1, training=False).reset()[0]
    assert len(np.unique(seen)) > 20
    assert make_simulator(NOISY, [0], training=False) is None
    assert make_simulator(CLEAR, [0], training=False) is not None


def test_numbers_have_no_such_noise() -> None:
    with pytest.raises(EnvError, match=r"env.observation_noise = 0.1 with 'CartPole-v1', which observes Box.*Leave it"):
        env_spec(EnvConfig(id="CartPole-v1", observation_noise=0.1))
