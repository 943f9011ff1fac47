"""Who acts: it follows what it sees with the transition model, and looks for a plan from there at every step.

Hafner et al. 2019, algorithm 1, https://arxiv.org/abs/1811.04551.

Shape legend: B environments, A numbers of an action, S of a stochastic state.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.decisions import Decisions, prefixed, stripped
from rlsys.algorithms.planet.inputs import Actions, make_inputs
from rlsys.algorithms.planet.networks import Agent
from rlsys.algorithms.planet.requirements import VALUE
from rlsys.algorithms.planet.seen import seen_part
from rlsys.api import Decision, Policy, PolicyContext, Saved
from rlsys.nets.flat import module_arrays, share_arrays
from rlsys.nets.precision import autocast
from rlsys.nets.transfer import to_device
from rlsys.types import Array, State, Weights

_CELL, _PLAN, _DONE = "cell/", "plan/", "done"


class PlanetPolicy(Policy):
    """Its state is that of the transition model, what was done last, and what the planner knew then."""

    def __init__(self, context: PolicyContext) -> None:
        config: PlanetConfig = context.config
        self._config, self._device = config, torch.device(context.device)
        self._network = Agent(config, context.env).to(self._device).eval()
        part = seen_part(context.env)
        assert part is not None, "refused before"
        self._seen, self._inputs = part, make_inputs(context.env, config.image_bits)
        self._actions = Actions(context.env, self._device)
        self._precision = autocast(config.precision, self._device)
        self._seed, self._learner_step = context.seed, -1
        self._generator, self._same = (torch.Generator(self._device).manual_seed(self._seed) for _ in range(2))
        self._exploring, self._greedy = (
            Decisions(config, self._network, self._actions, generator) for generator in (self._generator, self._same)
        )

    def initial_state(self, batch_size: int) -> State:
        """Returns that nothing was seen, done or planned."""
        cell, belief = self._network.cell.initial(batch_size), self._exploring.begin(batch_size)
        return {
            **_arrays({**prefixed(_CELL, cell), **prefixed(_PLAN, belief)}),
            _DONE: np.zeros((batch_size, self._actions.size), np.float32),
        }

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Plans for each environment; before the first update what is collected is random, and nothing is planned.

        Unless it explores, nothing is drawn of where environments are, and candidates are drawn alike at every step.
        """
        tensors = {name: to_device(array, self._device) for name, array in state.items()}
        now = self._follow(observation, tensors, self._generator if explore else None)
        value: Tensor = self._network.value(self._network.cell.features(now)).squeeze(-1)
        after = {**state, **_arrays(prefixed(_CELL, now))}
        if explore and self._learner_step <= 0:
            return Decision(self._actions.decode(self._random(len(value))), after, _arrays({VALUE: value}))
        if not explore:
            self._same.manual_seed(self._seed)
        plan = (self._exploring if explore else self._greedy).plan(now, stripped(_PLAN, tensors))
        extras = {
            VALUE: value,
            "plan_return": plan.value,
            "plan_returns_begin": plan.first_returns,
            "plan_returns_end": plan.last_returns,
        }
        action = self._explored(plan.action) if explore else plan.action
        return Decision(
            self._actions.decode(action), {**after, **_arrays(prefixed(_PLAN, plan.belief))}, _arrays(extras)
        )

    @torch.inference_mode()
    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers what was done."""
        return {**state, _DONE: self._actions.read(action).cpu().numpy()}

    def latents(self, state: State) -> Mapping[str, Array]:
        """Returns the sample and, of models that have one, the belief."""
        known = {name: f"{_CELL}{name}" for name in ("sample", "belief")}
        return {name: state[key] for name, key in known.items() if key in state}

    def set_weights(self, weights: Weights) -> None:
        """Acts with the arrays as they are; on another device, with a copy."""
        self._learner_step = weights.learner_step
        share_arrays(self._network, weights.arrays)

    def weights(self) -> Mapping[str, Array]:
        """See `Policy`."""
        return module_arrays(self._network) if self._learner_step >= 0 else {}

    def save(self) -> Saved:
        """Returns the random state."""
        return {"rng": self._generator.get_state().numpy()}

    def load(self, saved: Saved) -> None:
        """Takes over the random state."""
        self._generator.set_state(torch.from_numpy(np.array(saved["rng"])))

    def _follow(
        self, observation: Array, state: Mapping[str, Tensor], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Returns where the model thinks that environments are, having seen them; the mean without a generator."""
        shown = self._inputs.prepare(to_device(self._seen.of(observation), self._device))
        with self._precision:
            seen = self._network.embed(shown).float()
        noise = torch.zeros((len(shown), self._network.cell.state_size), device=self._device)
        if generator is not None:
            noise.normal_(generator=generator)
        step = self._network.cell.observe(stripped(_CELL, state), state[_DONE], seen, noise)
        return dict(step.posterior)

    def _explored(self, action: Tensor) -> Tensor:
        """Returns actions `[B, A]` with noise."""
        ramp = self._config.exploration_ramp
        amount = self._config.exploration_noise * (min(1.0, self._learner_step / ramp) if ramp else 1.0)
        if self._actions.num_choices:
            drawn = self._random(len(action))
            is_random = torch.rand(len(action), 1, generator=self._generator, device=self._device) < amount
            return torch.where(is_random, drawn, action)
        noise = torch.randn(action.shape, generator=self._generator, device=self._device)
        return (action + amount * noise).clamp(-1.0, 1.0)

    def _random(self, num_environments: int) -> Tensor:
        """Returns actions `[B, A]` of which each is as likely."""
        size = (num_environments, self._actions.size)
        uniform = torch.rand(size, generator=self._generator, device=self._device)
        if not self._actions.num_choices:
            return 2.0 * uniform - 1.0
        return functional.one_hot(uniform.argmax(dim=1), self._actions.num_choices).float()


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
