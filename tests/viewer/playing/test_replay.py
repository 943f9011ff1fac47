"""Looking through kept episodes with keys."""

from pathlib import Path

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.testing.worlds import ACTIONS, draw_dots
from rlsys.types import EpisodeRecord
from rlsys.viewer.columns import Column, compose
from rlsys.viewer.episodes import folder_of, keep
from rlsys.viewer.playing.keys import make_keys
from rlsys.viewer.playing.replay import Replay
from rlsys.viewer.screen import KeyEvent

ENV = env_spec(EnvConfig(id="rlsys/Dot-v0"))


def episode(steps: int, reward: float = 1.0) -> EpisodeRecord:
    """A dot that goes to the right."""
    position = np.stack([np.full(steps + 1, 3), np.arange(steps + 1)], axis=1)
    ended = np.arange(steps) == steps - 1
    action = np.full(steps, ACTIONS.index("RIGHT"))
    return EpisodeRecord(
        draw_dots(position, np.full(steps + 1, 200)), action, np.full(steps, reward, np.float32), ended
    )


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    keep(folder_of(tmp_path, "train"), [episode(30), episode(25, reward=2.0), episode(4)], 100, 10)
    keep(folder_of(tmp_path, "imagination"), [episode(3)], 200, 10)
    return Replay(tmp_path, ENV, make_keys(ENV))


def press(replay: Replay, key: str, ticks: int = 1) -> str:
    replay.key(KeyEvent(key, is_down=True))
    for _ in range(ticks):
        replay.tick()
    replay.key(KeyEvent(key, is_down=False))
    replay.tick()
    return replay.status


def test_arrows_go_through_an_episode_and_stop_at_its_ends(replay: Replay) -> None:
    press(replay, "down")
    assert replay.status == "train 2 of 4 | episode_000002_step_000000100 | step 0 of 25"
    for key, step in (("right", 1), ("right", 2), ("left", 1), ("pgup", 11), ("pgdn", 1), ("pgdn", 0), ("left", 0)):
        assert press(replay, key).endswith(f"| step {step} of 25"), key
    assert press(replay, "right", ticks=5).endswith("step 5 of 25"), "a held key goes on"
    assert press(replay, "space").endswith("step 0 of 25")
    assert press(replay, "pgup", ticks=9).endswith("step 25 of 25")


def test_episodes_follow_one_another_and_the_best_is_the_last(replay: Replay) -> None:
    names = [press(replay, "up").split(" | ")[1] for _ in range(4)]
    assert names == [
        "best_episode_000002_step_000000100",
        "episode_000001_step_000000100",
        "episode_000002_step_000000100",
        "episode_000003_step_000000100",
    ]


def test_letters_choose_a_kind_that_there_is(replay: Replay) -> None:
    assert press(replay, "i") == "imagination 1 of 2 | episode_000001_step_000000200 | step 0 of 3"
    assert press(replay, "y").startswith("imagination"), "there are no test episodes"
    assert press(replay, "t").startswith("train 3 of 4")


def test_the_picture_tells_what_happened_and_what_was_done(replay: Replay) -> None:
    press(replay, "i")
    press(replay, "right")
    frame = episode(3).observation
    lines = ("step 1   return 1", "reward 1   action RIGHT")
    expected = compose([Column("imagination 1 of 2", lines, frame[1])], 4.0, (90, 150, 230))
    assert np.array_equal(replay.picture, expected)
    press(replay, "pgup")
    lines = ("step 3   return 3", "reward 1   over")
    expected = compose([Column("imagination 1 of 2", lines, frame[3])], 4.0, (90, 150, 230))
    assert np.array_equal(replay.picture, expected)


def test_a_run_without_episodes_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no episodes in media/episodes; .*run\.kept_episodes"):
        Replay(tmp_path, ENV, make_keys(ENV))
