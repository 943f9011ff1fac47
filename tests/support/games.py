"""Evaluated games: policies and runs for them."""

import dataclasses
import json

import numpy as np
from pydantic import Field

from rlsys import registry
from rlsys.api import Decision, Policy, PolicyContext, ValueSpec
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import EnvConfig, Loaded, RunConfig, Section, build
from rlsys.envs.make import env_spec, make
from rlsys.runs import folder as run_folder
from rlsys.testing.algorithm import CHECKING, CheckingConfig, CheckingPolicy

COUNTING = EnvConfig(id="rlsys/Counting-v0")


def checking_policy(config: EnvConfig = COUNTING) -> CheckingPolicy:
    """A policy that asserts at each call that its state belongs to the episodes it is shown."""
    return CheckingPolicy(PolicyContext(CheckingConfig(), env_spec(config), seed=0))


def played_alone(config: EnvConfig, seed: int) -> tuple[float, int]:
    """Return and length of one episode, played by itself with action 0."""
    env = make(config, seed, training=False)
    env.reset()
    total, length, ended = 0.0, 0, False
    while not ended:
        _, reward, terminated, truncated, _ = env.step(0)
        total, length, ended = total + float(reward), length + 1, terminated or truncated
    return total, length


class _SearchConfig(Section):
    """The section of an algorithm that has all options of evaluation."""

    num_simulations: int = Field(30, ge=1)
    """Simulations."""
    eval_temperature: float = 0.0
    """Temperature."""
    only_prior: bool = False
    """Prior."""
    only_value: bool = False
    """Value."""
    use_exploration_noise: bool = False
    """Noise."""
    apply_mcts_steps: int = Field(1, ge=1)
    """Steps."""
    discount: float = 0.9
    """Discount."""
    support: int = 15
    """What the weights' outputs mean."""


class ZeroPolicy(Policy):
    """Always takes action 0."""

    def initial_state(self, batch_size):
        return {}

    def act(self, observation, state, *, explore):
        return Decision(np.zeros(len(observation), np.int64), {})

    def set_weights(self, weights):
        self.given = weights

    def weights(self):
        return self.given.arrays


class _Searcher(ZeroPolicy):
    """Reports its section and has a search tree of one node per action."""

    def __init__(self, context: PolicyContext) -> None:
        self.section = context.config

    def act(self, observation, state, *, explore):
        size = len(observation)
        assert not explore and self.given.arrays["w"].tolist() == [1.0, 2.0]
        extras = {
            "predicted_reward": np.full(size, 0.5),
            "simulations": np.full(size, float(self.section.num_simulations)),
            "flags": np.full(size, float(self.section.only_prior + 2 * self.section.use_exploration_noise)),
            "visit_probabilities": np.full((size, 3), 1 / 3),
        }
        return Decision(np.zeros(size, np.int64), {}, extras)

    def search_tree(self, row):
        assert row == 0
        arrays = dict.fromkeys(("prior", "reward", "value_sum", "q_value"), np.zeros((4, 3)))
        child, visits = np.full((4, 3), -1), np.zeros((4, 3), int)
        child[0], visits[0] = [1, 2, 3], 1
        return {**arrays, "child": child, "visit_count": visits}


SEARCHING = dataclasses.replace(
    CHECKING,
    name="searching",
    config_type=_SearchConfig,
    make_policy=_Searcher,
    values=lambda config: ValueSpec(config.discount, "root_value", reward_extra="predicted_reward"),
    temperature="eval_temperature",
    kept=("support",),
)
ALGORITHMS = {"checking": CHECKING, "searching": SEARCHING}


def making_runs(tmp_path, monkeypatch):
    """Returns a function that makes the folder of a run with checkpoints at steps 10 (the best) and 20."""
    monkeypatch.setattr(registry, "names", lambda: sorted(ALGORITHMS))
    monkeypatch.setattr(registry, "get", ALGORITHMS.__getitem__)

    def make_run(algorithm: str, env: EnvConfig = COUNTING, **run):
        sections = {
            "env": env.model_dump(),
            "run": RunConfig(seed=5, directory=str(tmp_path / "runs"), **run).model_dump(),
        }
        experiment = build({"algorithm": algorithm, **sections}, where="the test")
        folder = run_folder.create(Loaded(f"{algorithm}-counting", "laptop", experiment, {}))
        checkpoints = Checkpoints(folder / "checkpoints", keep=2)
        for step in (10, 20):
            arrays = {"w": np.array([1.0, 2.0])}
            with checkpoints.begin(step) as draft:
                draft.write("weights", {"version": step // 10, "learner_step": step, "arrays": arrays})
                draft.commit({"env_steps": 100 * step})
        checkpoints.mark_best(10, 1.0)
        return folder

    return make_run


def evaluation_of(folder):
    return json.loads((folder / "eval.json").read_text())
