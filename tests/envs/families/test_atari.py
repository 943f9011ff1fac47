"""Atari against bare ALE: a second emulator with the same seed, played by the definitions."""

from collections.abc import Iterator
from typing import Any

import ale_py
import cv2
import gymnasium
import numpy as np
import pytest
from ale_py import roms

from rlsys.config import read_env
from rlsys.envs.families.atari import AtariConfig, AtariGame, variants
from rlsys.envs.make import env_spec, make
from rlsys.errors import EnvError

SEED = 5
MAX_FRAMES = 108_000
PADDLE = 72
"""Where Breakout's RAM says where the paddle is."""

ACTION_COUNTS = {
    3: """
        Freeway Skiing
    """,
    4: """
        Atlantis Breakout
    """,
    6: """
        AirRaid Bowling Carnival DemonAttack NameThisGame Pong Pooyan Qbert SpaceInvaders UpNDown
    """,
    7: """
        Assault
    """,
    8: """
        Gopher Phoenix Tutankham
    """,
    9: """
        Asterix BeamRider CrazyClimber Enduro MsPacman VideoPinball
    """,
    10: """
        Amidar TimePilot WizardOfWor
    """,
    14: """
        Asteroids KungFuMaster
    """,
    16: """
        JourneyEscape
    """,
    18: """
        Adventure Alien BankHeist BattleZone Berzerk Boxing Centipede ChopperCommand DoubleDunk
        ElevatorAction FishingDerby Frostbite Gravitar Hero IceHockey Jamesbond Kangaroo Krull
        MontezumaRevenge Pitfall PrivateEye Riverraid RoadRunner Robotank Seaquest Solaris StarGunner Tennis
        Venture YarsRevenge Zaxxon
    """,
}
"""Number of actions -> the games of rtrl-elstm's list that have so many."""


def emulator(game: str, **options: Any) -> ale_py.ALEInterface:
    """Returns an emulator that is where `make(config, SEED).reset()` begins."""
    settings = {"max_num_frames_per_episode": MAX_FRAMES, "repeat_action_probability": 0.0, **options}
    return AtariGame(SEED, game, **settings).ale


def actions(num_actions: int, num_steps: int) -> Iterator[int]:
    yield from np.random.default_rng(0).integers(0, num_actions, num_steps).tolist()


def test_ram_steps_are_repeated_frames_of_the_emulator() -> None:
    config = AtariConfig(id="Breakout-ramNoFrameskip-v4", sticky_actions=4, repeat_action_probability=0.25)
    env = make(config, SEED)
    ale = emulator("breakout")
    draws = AtariGame(SEED, "breakout", repeat_action_probability=0.0).np_random
    observation, _ = env.reset()
    ale.reset_game()
    assert np.array_equal(observation, ale.getRAM())
    games = executed = 0
    for action in actions(4, 400):
        observation, reward, terminated, truncated, _ = env.step(action)
        expected = 0.0
        for _ in range(4):
            if not ale.game_over():
                executed = executed if draws.random() < 0.25 else action
                expected += ale.act(ale.getMinimalActionSet()[executed])
        assert np.array_equal(observation, ale.getRAM())
        assert (reward, terminated, truncated) == (expected, ale.game_over(), False)
        if terminated:
            games += 1
            executed = 0
            env.reset()
            ale.reset_game()
    assert games >= 2


def test_actions_are_repeated_as_often_as_by_the_emulator() -> None:
    probability, trials = 0.25, 300
    game = AtariGame(SEED, "breakout", frameskip=1, repeat_action_probability=probability)
    game.reset()
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", probability)
    ale.setInt("random_seed", SEED)
    ale.loadROM(roms.get_rom_path("breakout"))
    ale.reset_game()
    begun, right, left = game.ale.cloneState(), 2, 3
    ours, theirs = [], []
    for _ in range(trials):
        game.ale.restoreState(begun)
        ale.restoreState(begun)
        for action in [right] * 8 + [left] * 5:
            game.step(action)
            ale.act(ale.getMinimalActionSet()[action])
        ours.append(int(game.ale.getRAM()[PADDLE]))
        theirs.append(int(ale.getRAM()[PADDLE]))
    assert len(set(theirs)) > 1
    spread = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(trials)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * spread
    assert np.std(ours) == pytest.approx(np.std(theirs), rel=0.2)


def test_pixels_are_the_maximum_of_the_last_two_frames_shrunk_by_area() -> None:
    env = make(AtariConfig(id="PongNoFrameskip-v4", frame_size=(70, 96), frame_skip=3), SEED)
    ale = emulator("pong")
    observation, _ = env.reset()
    ale.reset_game()
    assert np.array_equal(observation, cv2.resize(ale.getScreenGrayscale(), (96, 70), interpolation=cv2.INTER_AREA))
    for action in actions(6, 40):
        frames = []
        for _ in range(3):
            ale.act(ale.getMinimalActionSet()[action])
            frames.append(ale.getScreenGrayscale())
        observation, *_ = env.step(action)
        expected = cv2.resize(np.maximum(frames[-1], frames[-2]), (96, 70), interpolation=cv2.INTER_AREA)
        assert observation.shape == (70, 96)
        assert np.array_equal(observation, expected)


def test_colour_has_its_planes_first() -> None:
    config = AtariConfig(id="BreakoutNoFrameskip-v4", frame_size=(50, 40), grayscale=False)
    observation, _ = make(config, SEED).reset()
    ale = emulator("breakout")
    ale.reset_game()
    expected = cv2.resize(ale.getScreenRGB(), (40, 50), interpolation=cv2.INTER_AREA)
    assert env_spec(config).observation.shape == (3, 50, 40)
    assert np.array_equal(observation, np.moveaxis(expected, 2, 0))


@pytest.mark.parametrize("grayscale", [True, False])
def test_a_crop_is_the_part_of_the_screen_that_is_seen(grayscale: bool) -> None:
    config = AtariConfig(
        id="BreakoutNoFrameskip-v4", frame_size=(64, 64), grayscale=grayscale, crop=(17, 210, 8, 152), frame_skip=4
    )
    env, ale = make(config, SEED), emulator("breakout")
    observation, _ = env.reset()
    ale.reset_game()
    for action in actions(4, 20):
        screens = []
        for _ in range(4):
            ale.act(ale.getMinimalActionSet()[action])
            screens.append(ale.getScreenGrayscale() if grayscale else ale.getScreenRGB())
        observation, *_ = env.step(action)
        seen = np.maximum(screens[-1], screens[-2])[17:210, 8:152]
        expected = cv2.resize(seen, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.array_equal(observation, expected if grayscale else np.moveaxis(expected, 2, 0))


def test_all_of_the_screen_as_a_crop_is_what_is_seen_without_one() -> None:
    whole = AtariConfig(id="QbertNoFrameskip-v4", frame_size=(240, 32), grayscale=False, frame_skip=3)
    ours, theirs = (make(config, SEED) for config in (whole, whole.model_copy(update={"crop": (0, 210, 0, 160)})))
    assert np.array_equal(ours.reset()[0], theirs.reset()[0])
    for action in actions(6, 10):
        assert np.array_equal(ours.step(action)[0], theirs.step(action)[0])


def test_losing_a_ball_in_breakout_ends_an_episode_and_the_game_has_five() -> None:
    env = make(AtariConfig(id="Breakout-ramNoFrameskip-v4", sticky_actions=4, episode_life=True, fire_reset=True), SEED)
    env.reset()
    record = env.record.finished_games
    ends = 0
    while not record:
        _, _, terminated, truncated, info = env.step(0)
        if terminated:
            ends += 1
            assert info["lives"] == 5 - ends
            env.reset()
        assert not truncated
    assert ends == 5


@pytest.mark.parametrize("name", ["Pong-ramNoFrameskip-v4", "PongNoFrameskip-v4"])
def test_a_lost_point_ends_an_episode_of_pong_and_a_game_has_21(name: str) -> None:
    sticky = 4 if "-ram" in name else 1
    env = make(AtariConfig(id=name, sticky_actions=sticky, episode_life=True), SEED)
    env.reset()
    record = env.record.finished_games
    ends = 0
    while not record:
        _, reward, terminated, _, _ = env.step(0)
        assert terminated == (reward == -1.0)
        if terminated:
            ends += 1
            env.reset()
    assert ends == 21
    assert record[0][0] == -21.0


def test_evaluation_sees_the_rewards_and_the_lives_of_training() -> None:
    config = AtariConfig(
        id="SpaceInvaders-ramNoFrameskip-v4", sticky_actions=4, episode_life=True, clip_rewards=True, noop_reset=True
    )
    rewards: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    ends: dict[bool, list[int]] = {True: [], False: []}
    for training in (True, False):
        env = make(config, SEED, training=training)
        env.reset()
        for step, action in enumerate(actions(6, 300)):
            _, reward, terminated, truncated, _ = env.step(action)
            rewards[training].append((float(reward), env.record.raw_reward))
            assert float(reward) == np.sign(env.record.raw_reward)
            if terminated or truncated:
                ends[training].append(step)
                env.reset()
    assert rewards[True] == rewards[False]
    assert max(raw for _, raw in rewards[True]) >= 5.0
    assert ends[True] == ends[False] != []


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"id": "Breakout-ramNoFrameskip-v4"}, 42),
        ({"id": "Breakout-ramNoFrameskip-v4", "sticky_actions": 4}, 11),
        ({"id": "BreakoutNoFrameskip-v4", "frame_skip": 4}, 11),
        ({"id": "ALE/Breakout-v5", "frame_skip": 1}, 11),
        ({"id": "LunarLander-v2", "sticky_actions": 3}, 14),
    ],
)
def test_max_episode_steps_counts_simulator_frames_and_truncates(settings: dict[str, Any], steps: int) -> None:
    env = make(read_env({"max_episode_steps": 42, **settings}), SEED)
    env.reset()
    for step in range(1, steps + 1):
        _, _, terminated, truncated, _ = env.step(0)
        assert not terminated
        assert truncated == (step == steps)


def test_every_game_has_every_id() -> None:
    table = variants()
    assert len(table) % 14 == 0
    for name in ("ALE/Pong-v5", "MsPacman-v0", "PongDeterministic-v4", "UpNDown-ramNoFrameskip-v4"):
        assert name in table
    assert table["SpaceInvadersDeterministic-v4"].frame_skip == 3
    assert {name for name in gymnasium.registry if name.startswith("ALE/")} <= table.keys()
    without_skip = {variant.without_skip for variant in table.values()}
    assert all(table[name].frame_skip == 1 for name in without_skip)


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"id": "Breakout-ramNoFrameskip-v4"}, 1),
        ({"id": "Breakout-ramNoFrameskip-v4", "sticky_actions": 5}, 5),
        ({"id": "Breakout-ram-v4"}, 3),
        ({"id": "SpaceInvaders-ramDeterministic-v0"}, 3),
        ({"id": "BreakoutNoFrameskip-v4"}, 4),
        ({"id": "BreakoutNoFrameskip-v4", "frame_skip": 1, "sticky_actions": 2}, 2),
        ({"id": "ALE/Breakout-v5", "frame_skip": 1}, 4),
    ],
)
def test_frames_per_step_is_the_one_skip_that_there_is(settings: dict[str, Any], frames: int) -> None:
    assert env_spec(read_env(settings)).frames_per_step == frames


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": "ALE/Breakout-v5"}, ["by itself = 4", "env.frame_skip = 4", "BreakoutNoFrameskip-v4"]),
        ({"id": "Breakout-v4"}, ["by itself = 3", "env.frame_skip = 4"]),
        ({"id": "PongDeterministic-v4", "frame_skip": 2}, ["PongNoFrameskip-v4"]),
        ({"id": "BreakoutNoFrameskip-v4", "sticky_actions": 4}, ["env.sticky_actions = 4", "env.sticky_actions=1"]),
        ({"id": "Breakout-ram-v0", "sticky_actions": 4}, ["env.sticky_actions = 4", "Breakout-ramNoFrameskip-v4"]),
        (
            {"id": "BreakoutNoFrameskip-v4", "crop": [17, 211, 0, 160]},
            ["env.crop = [17, 211, 0, 160]", "210 rows and 160 columns", "[0, 210, 0, 160] is all"],
        ),
        ({"id": "BreakoutNoFrameskip-v4", "crop": [17, 17, 0, 160]}, ["env.crop = [17, 17, 0, 160]"]),
        ({"id": "BreakoutNoFrameskip-v4", "crop": [0, 210, 9, 8]}, ["env.crop = [0, 210, 9, 8]"]),
    ],
)
def test_what_cannot_be_is_an_error_of_one_line(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(EnvError) as caught:
        make(read_env(settings), SEED)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("game", ["Freeway", "MsPacman"])
def test_games_without_fire_begin_as_they_are_where_fire_would_be_pressed(game: str) -> None:
    observations = [
        make(AtariConfig(id=f"{game}-ramNoFrameskip-v4", fire_reset=fire), SEED).reset()[0] for fire in (True, False)
    ]
    assert np.array_equal(*observations)


def test_the_full_action_space_and_the_meanings_are_in_the_spec() -> None:
    own = env_spec(AtariConfig(id="Breakout-ramNoFrameskip-v4"))
    assert own.action_meanings == ("NOOP", "FIRE", "RIGHT", "LEFT")
    assert own.num_actions == 4
    assert env_spec(AtariConfig(id="Breakout-ramNoFrameskip-v4", full_action_space=True)).num_actions == 18


@pytest.mark.parametrize("num_actions", ACTION_COUNTS)
def test_each_game_of_the_upstream_list_makes_and_has_as_many_actions_as_it_says(num_actions: int) -> None:
    for game in ACTION_COUNTS[num_actions].split():
        described = env_spec(AtariConfig(id=f"{game}NoFrameskip-v4", frame_size=(84, 84), episode_life=True))
        assert described.num_actions == len(described.action_meanings) == num_actions, game
        assert described.observation.shape == (84, 84), game


@pytest.mark.parametrize("noop_max", [1, 3])
def test_a_game_begins_with_up_to_noop_max_noops(noop_max: int) -> None:
    env = make(AtariConfig(id="Breakout-ramNoFrameskip-v4", noop_reset=True, noop_max=noop_max), SEED)
    begun = set()
    for _ in range(30):
        env.reset()
        begun.add(env.unwrapped.ale.getEpisodeFrameNumber())
    assert begun == set(range(noop_max + 1))
