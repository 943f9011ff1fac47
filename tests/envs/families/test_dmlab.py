"""DMLab by a stand-in for `deepmind_lab` with that module's API but no world: no package index has the real one."""

import sys
from typing import Any

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.dmlab import ACTIONS, LEVELS, DMLabConfig, FolderCache
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import EnvError
from rlsys.testing import deepmind_lab
from rlsys.testing.environment_contract import check_environment
from rlsys.types import ArraySpec

CONFIG = DMLabConfig(id="dmlab-rooms_watermaze", dmlab_size=(6, 8))
FORWARD, BACKWARD = 0, 1


@pytest.fixture(autouse=True)
def fake_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", deepmind_lab)


def lab_of(env: Any) -> deepmind_lab.Lab:
    return env.unwrapped._lab


def frame(lab: deepmind_lab.Lab, number: int) -> np.ndarray:
    """Returns a frame of the running episode, by the stand-in's definition, planes first."""
    return np.random.default_rng([lab.seeds[-1], number]).integers(0, 256, (6, 8, 3), np.uint8).transpose(2, 0, 1)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        CONFIG.model_copy(
            update={"stack_states": 2, "clip_rewards": True, "avoid_repeat": True, "max_episode_steps": 50}
        ),
    ],
)
def test_a_level_keeps_the_contract(config: EnvConfig) -> None:
    check_environment(config, num_steps=60)


def test_the_spec_is_upstreams() -> None:
    described = env_spec(EnvConfig(id="dmlab-rooms_watermaze"))
    assert described.observation == ArraySpec((3, 72, 96), "uint8")
    assert (described.num_actions, described.frames_per_step) == (9, 4)
    assert described.action_meanings == tuple(ACTIONS)


def test_a_step_sums_rewards_and_shows_the_maximum_of_the_last_two_frames() -> None:
    env = make(CONFIG, 0)
    observation, _ = env.reset()
    assert np.array_equal(observation, frame(lab_of(env), 0))
    for step, (action, reward) in enumerate([(FORWARD, 4.0), (BACKWARD, -4.0), (8, 0.0)], start=1):
        observation, got, terminated, truncated, _ = env.step(action)
        assert (got, terminated, truncated) == (reward, False, False)
        assert np.array_equal(observation, np.maximum(frame(lab_of(env), 4 * step - 1), frame(lab_of(env), 4 * step)))


def test_without_a_skip_each_frame_is_a_step() -> None:
    env = make(CONFIG.model_copy(update={"frame_skip": 1}), 0)
    env.reset()
    for number in (1, 2, 3):
        observation, reward, *_ = env.step(FORWARD)
        assert reward == 1.0
        assert np.array_equal(observation, frame(lab_of(env), number))


@pytest.mark.parametrize(("frame_skip", "steps", "last"), [(3, 34, "frame 101"), (4, 26, "the step before")])
def test_an_episode_is_truncated_by_the_clock_and_shows_the_last_that_there_was(
    frame_skip: int, steps: int, last: str
) -> None:
    env = make(CONFIG.model_copy(update={"frame_skip": frame_skip}), 0)
    before, _ = env.reset()
    for _ in range(steps - 1):
        before, _, terminated, truncated, _ = env.step(FORWARD)
        assert not (terminated or truncated)
    observation, reward, terminated, truncated, _ = env.step(FORWARD)
    assert (terminated, truncated) == (False, True)
    assert reward == deepmind_lab.EPISODE_FRAMES - frame_skip * (steps - 1)
    expected = before if last == "the step before" else frame(lab_of(env), 101)
    assert np.array_equal(observation, expected)


def test_each_episode_is_reset_once_with_a_seed_of_its_own() -> None:
    batch = BatchedEnv(CONFIG, (1, 2))
    labs = [lab_of(env) for env in batch._batch._envs]  # type: ignore[attr-defined]
    games = sum(len(batch.step(np.zeros(2, np.int64)).games) for _ in range(80))
    assert games == 6
    assert [len(lab.seeds) for lab in labs] == [4, 4]
    assert len({seed for lab in labs for seed in lab.seeds}) == 8


def test_a_seed_decides_the_seeds_of_all_episodes() -> None:
    def seeds(seed: int) -> list[int]:
        env = make(CONFIG, seed)
        for _ in range(3):
            env.reset()
        return lab_of(env).seeds

    assert seeds(5) == seeds(5) != seeds(6)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_has_its_ids(level: str) -> None:
    for name in (f"dmlab-{level}", f"dmlab:{level}", f"contributed/dmlab30/{level}", level):
        env = make(CONFIG.model_copy(update={"id": name}), 0)
        assert lab_of(env).level == f"contributed/dmlab30/{level}"
        assert lab_of(env).settings.get("allowHoldOutLevels") == ("true" if level.endswith("_test") else None)


def test_there_are_thirty_levels_and_two_more_to_train_in() -> None:
    assert len(set(LEVELS)) == 32
    assert sum(level.endswith("_train") for level in LEVELS) == 2


def test_size_and_renderer_reach_the_level() -> None:
    lab = lab_of(make(CONFIG.model_copy(update={"dmlab_renderer": "hardware"}), 0))
    assert lab.renderer == "hardware"
    assert (lab.settings["height"], lab.settings["width"]) == ("6", "8")


def test_maps_are_built_once_for_all_that_share_a_folder(tmp_path: Any) -> None:
    config = CONFIG.model_copy(update={"dmlab_level_cache": str(tmp_path / "maps")})
    first, second = make(config, 3), make(config, 3)
    for env in (first, second):
        env.reset()
        env.reset()
    assert lab_of(first).maps_built == 2
    assert lab_of(second).maps_built == 0
    assert len(list((tmp_path / "maps").iterdir())) == 2, "and no half-written map is left"


def test_a_cache_tells_keys_apart_and_knows_what_it_lacks(tmp_path: Any) -> None:
    cache = FolderCache(str(tmp_path))
    (tmp_path / "source").write_bytes(b"map of a")
    cache.write("levels/a 1", str(tmp_path / "source"))
    assert not cache.fetch("levels/a 2", str(tmp_path / "copy"))
    assert cache.fetch("levels/a 1", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"map of a"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": "dmlab-rooms_watermase"}, "Did you mean 'dmlab-rooms_watermaze'"),
        ({"sticky_actions": 4}, "actions are repeated twice: env.frame_skip = 4 and env.sticky_actions = 4"),
        ({"dmlab_size": (0, 96)}, "env.dmlab_size = [0, 96]"),
        ({"id": "CartPole-v1"}, "env.dmlab_size = (6, 8) with 'CartPole-v1'; only DMLab levels"),
    ],
)
def test_what_cannot_be_is_an_error_of_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make(CONFIG.model_copy(update=settings), 0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["dmlab-rooms_watermaze", "rooms_watermaze", "dmlab:rooms_watermaze"])
def test_without_the_module_the_error_says_how_to_build_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", None)
    with pytest.raises(EnvError, match=r"needs deepmind_lab.*build it with docker/dmlab\.Dockerfile"):
        make(EnvConfig(id=name), 0)
