"""Reference scores: every game has them, and they are 0 and 100 %."""

import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.dmlab import LEVELS
from rlsys.envs.families.procgen import GAMES, ProcGenConfig
from rlsys.envs.scores import ATARI, DMLAB, PROCGEN, Reference, normalized_score, reference


def score(name: str, episode_return: float) -> float | None:
    return normalized_score(EnvConfig(id=name), episode_return)


def of(name: str) -> Reference | None:
    return reference(EnvConfig(id=name))


def test_references_are_0_and_100_percent() -> None:
    for rom in ATARI:
        name = f"{rom.title().replace('_', '')}-ramNoFrameskip-v4"
        low, high = ATARI[rom]
        assert (score(name, low), score(name, high)) == (0.0, 100.0)
    for level, (low, high) in DMLAB.items():
        assert (score(f"dmlab-{level}", low), score(level, high)) == (0.0, 100.0)
    for mode, games in PROCGEN.items():
        for game, (low, high) in games.items():
            config = ProcGenConfig(id=f"procgen-{game}", distribution_mode=mode)
            assert normalized_score(config, (low + high) / 2) == pytest.approx(50.0)


def test_the_suites_are_complete() -> None:
    assert len(ATARI) == 57
    assert len(DMLAB) == 30
    assert all(of(level) is not None for level in LEVELS)
    assert set(PROCGEN["easy"]) == set(PROCGEN["hard"]) == set(GAMES)
    assert all(low < high for table in (ATARI, DMLAB, *PROCGEN.values()) for low, high in table.values())


def test_all_ids_of_a_game_share_a_reference() -> None:
    assert of("ALE/Pong-v5") == of("Pong-ramNoFrameskip-v4") == of("PongNoFrameskip-v4") == (-20.7, 14.6)
    assert of("procgen:procgen-chaser-v0") == of("procgen-chaser") == (0.5, 14.2)
    assert of("rooms_exploit_deferred_effects_train") == of("dmlab-rooms_exploit_deferred_effects_test")


@pytest.mark.parametrize("name", ["CartPole-v1", "tmaze-20", "no-such-thing", "AdventureNoFrameskip-v4"])
def test_what_has_no_reference_has_no_normalised_score(name: str) -> None:
    assert score(name, 1.0) is None


def test_modes_without_constants_have_no_normalised_score() -> None:
    assert normalized_score(ProcGenConfig(id="procgen-maze", distribution_mode="memory"), 5.0) is None
