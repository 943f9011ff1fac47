"""What is done next, looked for in the model: along whole sequences of actions, or in a tree.

Hafner et al. 2019, algorithm 2, https://arxiv.org/abs/1811.04551.

Shape legend: B environments, N copies of a state, A numbers of an action, S of a stochastic state.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.inputs import Actions
from rlsys.algorithms.planet.networks import Agent
from rlsys.algorithms.planet.time_agnostic import doubt
from rlsys.algorithms.planet.transitions.rssm import RSSM
from rlsys.algorithms.planet.transitions.time_agnostic import TimeAgnostic
from rlsys.api import WorldStep
from rlsys.nets.precision import factors
from rlsys.ops.captured import captured
from rlsys.planning.latent import LatentModel, TreeSearch, rollout_value
from rlsys.planning.shooting.make import make_planner
from rlsys.planning.shooting.plan import Belief, Plan, Score
from rlsys.planning.shooting.rollout import State, Step, rollout_score
from rlsys.planning.shooting.rssm import RSSMLayers, RSSMScore

_STATE, _BELIEF = "state/", "belief/"


class Decisions:
    """Plans in an agent's model, and draws from one generator; on a GPU each decision is one graph."""

    def __init__(self, config: PlanetConfig, network: Agent, actions: Actions, generator: torch.Generator) -> None:
        """Takes what decides, and what is drawn from."""
        self._config, self._network, self._actions = config, network, actions
        self._generator = generator
        self._dtype = factors(config.precision, generator.device)
        self._tree = TreeSearch(config.planner) if config.planner.kind == "tree" else None
        is_discrete = bool(actions.num_choices)
        self._planner = None if self._tree else make_planner(config.planner, actions.size, discrete=is_discrete)
        self._along_sequences = captured(self._decide, generator.device, generator)

    def begin(self, num_environments: int) -> Belief:
        """Returns that nothing was planned before."""
        return {} if self._planner is None else self._planner.begin(num_environments, self._generator.device)

    def plan(self, state: State, belief: Belief) -> Plan:
        """Returns what to do in B states, with what the last plans in the same episodes have left."""
        if self._tree is not None:
            return self._tree.plan(self._latent(state))
        return self._along_sequences({**prefixed(_STATE, state), **prefixed(_BELIEF, belief)})

    def _decide(self, inputs: Mapping[str, Tensor]) -> Plan:
        assert self._planner is not None, "trees are not planned along sequences"
        return self._planner.plan(self._score(stripped(_STATE, inputs)), stripped(_BELIEF, inputs), self._generator)

    def _score(self, state: State) -> Score:
        """Returns what sequences of actions are worth from B states."""
        discount, cell = self._config.planner.discount, self._network.cell
        if isinstance(cell, RSSM) and self._generator.device.type == "cpu":
            places = state["sample"], state["belief"]
            return RSSMScore(
                self._layers(cell), *places, discount=discount, generator=self._generator, dtype=self._dtype
            )
        return rollout_score(
            self._sure_step(num_environments=len(state["mean"])),
            state,
            discount=discount,
            value=self._value if self._config.bootstraps else None,
            generator=self._generator,
        )

    def _layers(self, cell: RSSM) -> RSSMLayers:
        config, network = self._config, self._network
        return RSSMLayers(
            cell.input,
            cell.belief,
            cell.prior_hidden,
            cell.prior.mean,
            cell.prior.stddev,
            network.reward.layers(),
            network.value.layers() if config.bootstraps else (),
            config.min_stddev,
            config.mean_only,
            config.future_rnn,
        )

    def _latent(self, state: State) -> LatentModel:
        """Returns the model as a tree sees it: leaves are worth what was learned, or random play from there."""
        planner, num_actions = self._config.planner, self._actions.size
        by_playing = rollout_value(
            self._step, num_actions, horizon=planner.horizon, discount=planner.discount, generator=self._generator
        )
        value = self._value if self._config.bootstraps else by_playing
        return LatentModel(self._step, state, num_actions, value=value, generator=self._generator)

    def _step(self, state: State, action: Tensor, generator: torch.Generator | None) -> tuple[State, WorldStep]:
        """Foretells one step of N copies."""
        size = (len(action), self._network.cell.state_size)
        noise = torch.randn(size, generator=generator, device=action.device)
        after = self._network.cell.imagine(state, action, noise)
        reward = self._network.reward(self._network.cell.features(after)).squeeze(-1)
        return after, WorldStep(reward, torch.zeros_like(reward, dtype=torch.bool))

    def _sure_step(self, num_environments: int) -> Step:
        """Returns the model's step; with a second cell, states that this did not foretell earn less."""
        cell, scale = self._network.cell, self._config.tap_scale
        if not (isinstance(cell, TimeAgnostic) and scale):
            return self._step

        def step(state: State, action: Tensor, generator: torch.Generator | None) -> tuple[State, WorldStep]:
            after, (reward, terminated) = self._step(state, action, generator)
            own, foretold = cell.parts(after)
            deviation = reward.view(num_environments, -1).std(dim=1, correction=0, keepdim=True)
            doubts = doubt(own["mean"], own["stddev"], foretold["mean"], foretold["stddev"])
            less = scale * deviation * doubts.view(num_environments, -1)
            return after, WorldStep(reward - less.flatten(), terminated)

        return step

    def _value(self, state: State) -> Tensor:
        value: Tensor = self._network.value(self._network.cell.features(state)).squeeze(-1)
        return value


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors with a prefix before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def stripped(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns those tensors whose names have a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
