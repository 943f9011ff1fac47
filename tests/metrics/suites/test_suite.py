"""Suites: games that can be played, and returns of all that was published in each of them."""

import pytest

from rlsys.config import EnvConfig
from rlsys.envs.scores import normalized_score
from rlsys.envs.table import find
from rlsys.errors import ConfigError
from rlsys.metrics.suites.suite import env_ids, load, names


def test_atari_100k_has_26_games_which_all_methods_were_measured_in() -> None:
    assert names() == ["atari100k"]
    suite = load("atari100k")
    assert (len(suite.references), suite.decisions) == (26, 100_000)
    assert suite.references["Alien"] == (227.8, 7127.7) and suite.references["UpNDown"] == (533.4, 11693.2)
    for method in suite.methods:
        assert list(method.returns) == list(suite.references)
        assert len({len(returns) for returns in method.returns.values()}) == 1, "as many runs in each game"
        assert "https://arxiv.org/abs/" in method.source


def test_its_ids_are_played_and_known_again_under_any_of_their_names() -> None:
    suite = load("atari100k")
    ids = env_ids(["atari100k"])
    assert len(ids) == 26 and "KungFuMasterNoFrameskip-v4" in ids
    assert all(find(env_id) for env_id in ids)
    assert [suite.game_of(env_id) for env_id in ids] == list(suite.references)
    assert suite.game_of("ALE/UpNDown-v5") == "UpNDown"
    assert suite.game_of("TennisNoFrameskip-v4") is None
    assert suite.game_of("CartPole-v1") is None
    assert env_ids(["catch", "atari100k", "CartPole-v1"]) == ["catch", *ids, "CartPole-v1"]


def test_scores_are_those_of_evaluations_as_shares() -> None:
    suite = load("atari100k")
    for game, env_id in zip(suite.references, env_ids(["atari100k"]), strict=True):
        percent = normalized_score(EnvConfig(id=env_id), 123.0)
        assert percent == pytest.approx(100 * suite.normalised(game, 123.0))


def test_what_is_no_suite_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^no suite 'atari100'\. Did you mean 'atari100k'\?$"):
        load("atari100")
    with pytest.raises(ConfigError, match=r"^no suite 'chess'\. Known: atari100k\.$"):
        load("chess")
