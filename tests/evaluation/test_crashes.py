"""Games that crash are reported, and the others are played to their end."""

import os
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from support.games import COUNTING, checking_policy, evaluation_of, making_runs, played_alone

from rlsys.api import PolicyContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import EnvError
from rlsys.evaluation import job as job_module
from rlsys.evaluation.episodes import play_episodes
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.evaluation.watching import Watched
from rlsys.testing.algorithm import CheckingConfig, CheckingPolicy
from rlsys.testing.environments import CountingEnv

SOME = EnvConfig(id="rlsys-test/Crashing-some-v0")
ALL = EnvConfig(id="rlsys-test/Crashing-all-v0")
BEGINNING = EnvConfig(id="rlsys-test/Crashing-beginning-v0")


class Crashing(CountingEnv):
    """Fails after three steps, or when it begins, in games of odd seeds or in all."""

    def __init__(self, odd: bool, at: int, **options: Any) -> None:
        super().__init__(**options)
        self._odd, self._at, self._fails = odd, at, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self._fails = seed >= 5 and (seed % 2 == 1 or not self._odd)
        if self._fails and self._at == 0:
            raise RuntimeError("no\nbeginning.")
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        if self._fails and self._count == self._at:
            raise ZeroDivisionError("at three")
        return super().step(action)


gymnasium.register(SOME.id, entry_point=Crashing, kwargs={"odd": True, "at": 3})
gymnasium.register(ALL.id, entry_point=Crashing, kwargs={"odd": False, "at": 3})
gymnasium.register(BEGINNING.id, entry_point=Crashing, kwargs={"odd": True, "at": 0})


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        (SOME, "3 decisions: ZeroDivisionError: at three"),
        (BEGINNING, f"0 decisions: '{BEGINNING.id}' cannot be made: RuntimeError: no beginning. Correct it, or choose"),
    ],
)
@pytest.mark.parametrize("max_environments", [2, 32])
def test_games_that_crash_are_named_and_the_others_are_those_of_their_seeds(
    env: EnvConfig, reason: str, max_environments: int
) -> None:
    statistics = play_episodes(
        checking_policy(env), env, 6, seed=4, max_environments=max_environments, outlives_crashes=True, traces=True
    )
    assert statistics.returns.tolist() == [played_alone(COUNTING, seed)[0] for seed in (4, 6, 8)]
    assert len(statistics.traces) == 3
    for index, text in zip((1, 3, 5), statistics.crashed, strict=True):
        assert text.startswith(f"game {index} (seed {4 + index}) crashed after {reason}") and "\n" not in text


def test_a_crash_while_a_run_trains_is_the_runs() -> None:
    with pytest.raises(ZeroDivisionError):
        play_episodes(checking_policy(SOME), SOME, 2, seed=4)


def test_a_row_is_of_the_games_that_came_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = making_runs(tmp_path, monkeypatch)("checking", SOME)
    evaluate_run(EvaluationOptions(str(folder), episodes=3, checkpoints=("10", "20")))
    rows = evaluation_of(folder)["results"]
    for row in rows:
        assert row["episodes"] == 1 and row["returns"] == [played_alone(COUNTING, 6)[0]]
        assert [text[:15] for text in row["crashed"]] == ["game 0 (seed 5)", "game 2 (seed 7)"]
    told = [line for line in capsys.readouterr().out.splitlines() if "crashed" in line]
    assert len(told) == 4
    assert told[0] == (
        "step 10, temperature 0: game 0 (seed 5) crashed after 3 decisions: ZeroDivisionError: at three. "
        "It does not count."
    )


def test_an_evaluation_in_which_every_game_crashed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = making_runs(tmp_path, monkeypatch)("checking", ALL)
    with pytest.raises(EnvError, match=r"no game came to its end; temperature 0: game 0 \(seed 5\) crashed after 3"):
        evaluate_run(EvaluationOptions(str(folder), episodes=2))
    assert not (folder / "eval.json").exists()


def test_games_of_a_process_that_dies_are_lost_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_module, "_use_threads", os._exit)  # in the other process, when it begins
    context = PolicyContext(CheckingConfig(), env_spec(COUNTING), seed=0)
    job = job_module.Job(CheckingPolicy, context, COUNTING, None, episodes=5, seed=7)
    with job_module.Players(2) as players:
        for _ in range(2):
            statistics = players.play(job, Watched(episode=3))
            assert statistics.returns.tolist() == [played_alone(COUNTING, seed)[0] for seed in (9, 10, 11)]
            assert statistics.crashed == ("games 0 to 1 (seeds from 7) are lost: their process died",)
