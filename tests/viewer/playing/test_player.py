"""Playing in a world model, with keys and without a screen."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from viewer.playing.tapping import press, step

from rlsys.api import Decision, Policy
from rlsys.testing.worlds import ACTIONS
from rlsys.types import State, Weights
from rlsys.viewer.columns import difference
from rlsys.viewer.playing.player import Player
from rlsys.viewer.playing.stage import Stage
from rlsys.viewer.screen import KeyEvent, WindowClosed

MakePlayer = Callable[..., Player]
WAITING, REAL_TIME = (40, 200, 90), (225, 60, 60)
RIGHT, NOOP = ACTIONS.index("RIGHT"), ACTIONS.index("NOOP")


def mode(player: Player) -> tuple[int, ...]:
    return tuple(player.picture[0, 0].tolist())


def recorded(player: Player, index: int = -1) -> dict[str, np.ndarray]:
    stem = player.recorded[index]
    with np.load(f"{stem}.npz") as arrays:
        return dict(arrays)


def test_time_stands_still_until_a_key_says_what_to_do(make_player: MakePlayer) -> None:
    player = make_player()
    first = player.picture
    assert mode(player) == WAITING
    for _ in range(5):
        player.tick()
    assert player.picture is first
    step(player, "d")
    step(player, "n")
    player.tick()
    step(player, "w", "right")
    player.reset()
    assert recorded(player)["action"].tolist() == [RIGHT, NOOP, ACTIONS.index("UPRIGHT")]
    player.close()


def test_a_held_key_goes_on_and_a_tap_between_ticks_is_not_lost(make_player: MakePlayer) -> None:
    player = make_player()
    player.key(KeyEvent("d", is_down=True))
    player.tick()
    press(player, "w")
    player.tick()
    player.tick()
    player.key(KeyEvent("d", is_down=False))
    player.tick()
    player.close()
    assert [ACTIONS[action] for action in recorded(player)["action"]] == ["RIGHT", "UPRIGHT", "RIGHT"]


def test_in_real_time_nothing_held_is_a_noop(make_player: MakePlayer) -> None:
    player = make_player()
    press(player, "c")
    assert mode(player) == REAL_TIME
    for _ in range(3):
        player.tick()
    press(player, "c")
    assert mode(player) == WAITING
    player.tick()
    player.close()
    assert recorded(player)["action"].tolist() == [NOOP] * 3


def test_a_held_command_acts_once(make_player: MakePlayer) -> None:
    player = make_player()
    for _ in range(3):
        player.key(KeyEvent("c", is_down=True))  # as a keyboard that repeats
    assert mode(player) == REAL_TIME
    player.close()


def test_three_columns_of_which_the_third_is_the_difference(make_player: MakePlayer) -> None:
    player = make_player(error_after=1, zoom=8.0)
    step(player, "d")
    step(player, "s")
    picture = player.picture
    player.close()
    arrays = recorded(player)
    model, real = arrays["model_observation"][-1], arrays["observation"][-1]
    expected = difference(model, real)
    assert expected.max() == 55 and (expected > 0).sum() == 40, "the model errs in the top row by 65, elsewhere by 5"
    height, width = 8 * 30, 8 * 40
    gap = (picture.shape[1] - 3 * width) // 2
    shown = picture[-height:, :, 0]
    for index, frame in enumerate((model, real, expected)):
        left = index * (width + gap)
        assert np.array_equal(shown[:, left : left + width], frame.repeat(8, axis=0).repeat(8, axis=1)), index
    assert arrays["model_reward"].tolist() == [1.0, 0.5]
    assert arrays["reward"].tolist() == [1.0, 0.0]


def test_x_begins_only_the_model_anew_from_the_last_real_frames(make_player: MakePlayer) -> None:
    player = make_player(error_after=0)
    for _ in range(3):
        step(player, "d")
    press(player, "x")
    step(player, "s")
    player.close()
    arrays = recorded(player)
    assert arrays["restarted"].tolist() == [False, False, False, True]
    same = [np.array_equal(*frames) for frames in zip(arrays["model_observation"], arrays["observation"], strict=True)]
    assert same == [True, False, False, True, False], "it begins like the real game, and again where it was restarted"
    assert arrays["reward"].tolist() == [1.0, 1.0, 1.0, 0.0]
    assert arrays["model_reward"].tolist() == [1.5, 1.5, 1.5, 0.5]


def test_x_zeroes_the_counters_of_the_model_alone(make_player: MakePlayer) -> None:
    player = make_player()
    for _ in range(3):
        step(player, "d")
    width = (player.picture.shape[1] - 12) // 3
    model, game = player.picture[27:60, :width], player.picture[27:60, width + 6 : 2 * width + 6]
    assert np.array_equal(model, game), "a right model has the counters of the game"
    before = game.copy()
    press(player, "x")
    assert not np.array_equal(player.picture[27:60, :width], before)
    assert np.array_equal(player.picture[27:60, width + 6 : 2 * width + 6], before)
    player.close()


@pytest.mark.parametrize(("num_context", "num_stack"), [(1, 1), (1, 3), (2, 5), (6, 2)])
def test_models_begin_from_as_many_frames_as_they_need(
    make_player: MakePlayer, num_context: int, num_stack: int
) -> None:
    player = make_player(num_context=num_context, num_stack=num_stack)
    for key in ("d", "s", "x", "p", "n"):
        step(player, key)
    player.close()
    arrays = recorded(player)
    assert np.array_equal(arrays["model_observation"], arrays["observation"])


def test_an_episode_ends_with_the_real_game_is_shown_for_a_second_and_the_next_begins(make_player: MakePlayer) -> None:
    player = make_player(fps=10.0)
    player.key(KeyEvent("d", is_down=True))
    ticks = 0
    while "episode over" not in player.status:
        player.tick()
        ticks += 1
        assert ticks < 40
    assert len(player.recorded) == 1
    arrays = recorded(player)
    assert len(arrays["action"]) == ticks == len(arrays["observation"]) - 1
    assert arrays["observation"][-1][:, -1].max() == 200, "the dot is at the right edge"
    assert arrays["model_over"].tolist() == [False] * (ticks - 1) + [True]
    last = player.picture
    press(player, "x")
    for _ in range(10):
        player.tick()
        assert player.picture is last
    player.tick()
    assert "step 0" in player.status
    player.close()
    assert len(player.recorded) == 1, "an episode without a step leaves no files"


def test_the_policy_plays_while_p_is_on_even_in_wait_mode(make_player: MakePlayer) -> None:
    player = make_player(num_stack=3)
    press(player, "p")
    assert mode(player) == REAL_TIME
    for _ in range(4):
        step(player, "a")
    press(player, "p")
    assert mode(player) == WAITING
    step(player, "s")
    player.close()
    arrays = recorded(player)
    assert [ACTIONS[action] for action in arrays["action"]] == ["RIGHT"] * 4 + ["DOWN"]
    assert arrays["by_policy"].tolist() == [True] * 4 + [False]


class Remembering(Policy):
    """Goes up, and remembers all frames, actions and rewards of its episode, as numbers."""

    def __init__(self) -> None:
        self.memory: list[tuple[float, ...]] = []

    def initial_state(self, batch_size: int) -> State:
        return {"memory": np.zeros((batch_size, 64, 3)), "length": np.zeros(batch_size, np.int64)}

    def act(self, observation: np.ndarray, state: State, *, explore: bool) -> Decision:
        kept = int(state["length"][0])
        memory = state["memory"].copy()
        memory[0, kept, 0] = float(observation.argmax())
        self.memory = [tuple(row) for row in memory[0, : kept + 1].tolist()]
        return Decision(np.array([ACTIONS.index("UP")]), {**state, "memory": memory})

    def after_step(self, state: State, action: np.ndarray, reward: np.ndarray) -> State:
        memory = state["memory"].copy()
        memory[0, state["length"][0], 1:] = action[0], reward[0]
        return {"memory": memory, "length": state["length"] + 1}

    def set_weights(self, weights: Weights) -> None:
        raise AssertionError("it needs none")

    def weights(self) -> Mapping[str, np.ndarray]:
        return {}


@pytest.mark.parametrize("shows_game", [True, False])
def test_after_p_the_policy_remembers_what_has_happened_so_far(make_player: MakePlayer, shows_game: bool) -> None:
    policy = Remembering()
    player = make_player(policy=policy, num_context=3, shows_game=shows_game)
    for key in ("d", "s", "d"):
        step(player, key)
    press(player, "p")
    player.tick()
    player.tick()
    press(player, "p")
    step(player, "s")
    press(player, "p")
    player.tick()
    arrays = recorded_so_far(player)
    names = ["NOOP", "NOOP", "RIGHT", "DOWN", "RIGHT", "UP", "UP", "DOWN", "UP"]
    assert [ACTIONS[int(action)] for _, action, _ in policy.memory[:-1]] == names[:-1]
    assert [reward for _, _, reward in policy.memory[:-1]] == [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    frames = arrays["observation" if shows_game else "model_observation"]
    assert [frame for frame, _, _ in policy.memory[2:]] == [frame.argmax() for frame in frames[:-1]]


def test_a_new_episode_is_a_new_memory(make_player: MakePlayer) -> None:
    policy = Remembering()
    player = make_player(policy=policy, num_context=3)
    step(player, "d")
    press(player, "r", "p")
    player.tick()
    assert [ACTIONS[int(action)] for _, action, _ in policy.memory[:-1]] == ["NOOP", "NOOP"]
    player.close()


def recorded_so_far(player: Player) -> dict[str, np.ndarray]:
    player.close()
    return recorded(player)


@pytest.mark.parametrize("num_stack", [1, 3])
def test_without_the_real_game_the_model_plays_alone_and_says_when_it_is_over(
    make_player: MakePlayer, num_stack: int
) -> None:
    player = make_player(shows_game=False, num_stack=num_stack)
    press(player, "p")
    for _ in range(40):
        player.tick()
        if player.recorded:
            break
    arrays = recorded(player)
    assert "observation" not in arrays and "reward" not in arrays
    assert arrays["model_over"].tolist() == [False] * (len(arrays["action"]) - 1) + [True]
    assert player.picture.shape[1] < 300, "one column"
    player.close()


def test_an_episode_can_be_limited(make_player: MakePlayer) -> None:
    player = make_player(episode_steps=3)
    for _ in range(4):
        step(player, "w")
    assert "step 3" in player.status and "episode over" in player.status
    press(player, "r")
    assert "step 0" in player.status
    player.close()


def test_recordings_are_numbered_and_their_films_show_every_step(make_player: MakePlayer, tmp_path: Path) -> None:
    (tmp_path / "played-0007.npz").touch()
    player = make_player(fps=10.0)
    for _ in range(5):
        step(player, "d")
    press(player, "r")
    step(player, "a")
    player.close()
    assert [stem.name for stem in player.recorded] == ["played-0008", "played-0009"]
    film = iio.imread(f"{player.recorded[0]}.mp4", plugin="FFMPEG")
    assert len(film) == 6
    assert iio.immeta(f"{player.recorded[0]}.mp4", plugin="FFMPEG")["fps"] == 10
    shown = player.picture
    assert film.shape[1:] == (2 * shown.shape[0], 2 * shown.shape[1], 3), "small films are enlarged"
    arrays = recorded(player, 0)
    assert arrays["observation"].shape == arrays["model_observation"].shape == (6, 30, 40)
    assert arrays["observation"].dtype == np.uint8
    assert arrays["reward"].dtype == arrays["model_reward"].dtype == arrays["raw_reward"].dtype == np.float32


def test_a_film_that_cannot_be_written_does_not_end_play_and_is_named(make_player: MakePlayer, tmp_path: Path) -> None:
    (tmp_path / "played-0001.mp4").mkdir()
    player = make_player()
    for _ in range(3):
        step(player, "d")
    player.close()
    assert recorded(player)["action"].tolist() == [RIGHT] * 3
    (trouble,) = player.troubles
    assert trouble.startswith("played-0001.mp4 is left out: ") and "Is a directory" in trouble


def test_rewards_are_compared_as_they_are_learned_from(make_player: MakePlayer) -> None:
    player = make_player(clip_rewards=True)
    step(player, "a")
    step(player, "d")
    player.close()
    arrays = recorded(player)
    assert np.array_equal(arrays["reward"], np.sign(arrays["raw_reward"]))


class ScriptedScreen:
    """Gives one batch of keys with each picture, then is closed."""

    def __init__(self, script: Sequence[Sequence[KeyEvent]]) -> None:
        self.script = list(script)
        self.statuses: list[str] = []

    def show(self, frame: np.ndarray, status: str = "") -> Sequence[KeyEvent]:
        self.statuses.append(status)
        if not self.script:
            raise WindowClosed
        return self.script.pop(0)


def test_a_closed_screen_ends_play_and_completes_the_recording(make_player: MakePlayer, tmp_path: Path) -> None:
    player = make_player()
    screen = ScriptedScreen([[KeyEvent("d", is_down=True)], [], [KeyEvent("d", is_down=False)]])
    Stage(player, tmp_path, 20.0).play(screen)
    assert recorded(player)["action"].tolist() == [RIGHT, RIGHT]
    assert screen.statuses == [f"WAIT | you play | step {count}" for count in (0, 1, 2, 2)]
