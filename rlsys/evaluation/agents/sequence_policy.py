"""Acting by a planner in a world model: `rlsys eval RUN --agent planner --planner icem`. No policy is asked.

Shape legend: B environments, A numbers of an action.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from rlsys.api import Decision, Policy, World, WorldState, WorldStep
from rlsys.errors import ConfigError
from rlsys.evaluation.agents.planning_policy import HISTORY, LookingAhead, Planning
from rlsys.planning.imagined import to_tensors
from rlsys.planning.latent import LatentModel, TreeSearch, rollout_value
from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting.make import make_planner
from rlsys.planning.shooting.plan import Belief, Plan
from rlsys.planning.shooting.rollout import index_of, numbers_of, rollout_score
from rlsys.types import Array, EnvSpec, State

_BELIEF = "planner/belief/"
_ELITES = 8
"""One in so many candidates is one."""


class SequencePolicy(LookingAhead):
    """Does what the best sequence of actions in the model begins with; what was planned is gone on from."""

    def __init__(
        self, policy: Policy, world: World, env: EnvSpec, planning: Planning, value: str, seed: int = 0
    ) -> None:
        """Takes a model, and how it is planned in.

        `value` is the extra that tells what is expected. `seed` is of all that is drawn.

        Raises:
          ConfigError: no planner fits the environment's actions.
        """
        super().__init__(policy, world, env)
        assert planning.kind != "rollouts", "those are a PlanningPolicy's"
        config = PlannerConfig(
            kind=planning.kind,
            horizon=planning.horizon,
            discount=planning.discount,
            candidates=planning.rollouts,
            elites=max(1, planning.rollouts // _ELITES),
            iterations=planning.iterations,
            warm_start=True,
            simulations=planning.rollouts,
        )
        self._size = config.action_size(env, "planner")
        self._action_of = _action_of(env, world)
        self._config, self._value = config, value
        self._tree = TreeSearch(config) if config.kind == "tree" else None
        self._planner = None if self._tree else make_planner(config, self._size, discrete=bool(env.num_actions))
        self._generator = torch.Generator(world.device).manual_seed(seed)

    def initial_state(self, batch_size: int) -> State:
        """Returns an empty history, and that nothing was planned."""
        belief = self._planner.begin(batch_size, self._world.device) if self._planner else {}
        return {**super().initial_state(batch_size), **_arrays(belief)}

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Plans for each environment; its value is the return that is expected of what is planned."""
        history = self._with(observation, state)
        belief = {
            name.removeprefix(_BELIEF): torch.from_numpy(np.array(array)).to(self._world.device)
            for name, array in state.items()
            if name not in HISTORY
        }
        plan = self._plan(self._begin(history), belief)
        action = self._action_of(plan.action).cpu().numpy().astype(self._env.action.dtype)
        value: Array = plan.value.float().cpu().numpy()
        return Decision(action, {**history, **_arrays(plan.belief)}, {self._value: value})

    def _begin(self, history: State) -> WorldState:
        """Returns where the model's copies of the environments are."""
        state: dict[str, Tensor] = {}
        for chosen, frames, actions in self._beginnings(history):
            begun = self._world.begin(to_tensors(frames, self._world.device), to_tensors(actions, self._world.device))
            rows = torch.from_numpy(np.flatnonzero(chosen)).to(self._world.device)
            for name, part in begun.items():
                whole = state.setdefault(name, part.new_zeros((len(chosen), *part.shape[1:])))
                state[name] = whole.index_copy(0, rows, part)
        return state

    def _plan(self, state: WorldState, belief: Belief) -> Plan:
        discount, generator = self._config.discount, self._generator
        if self._planner is not None:
            score = rollout_score(self._step, state, discount=discount, action_of=self._action_of, generator=generator)
            return self._planner.plan(score, belief, generator)
        assert self._tree is not None
        value = rollout_value(
            self._step,
            self._size,
            horizon=self._config.horizon,
            discount=discount,
            action_of=self._action_of,
            generator=generator,
        )
        model = LatentModel(self._step, state, self._size, value=value, action_of=self._action_of, generator=generator)
        return self._tree.plan(model)

    def _step(
        self, state: WorldState, action: Tensor, generator: torch.Generator | None
    ) -> tuple[WorldState, WorldStep]:
        return self._world.step(state, action, generator)


def _action_of(env: EnvSpec, world: World) -> Callable[[Tensor], Tensor]:
    """Returns the function from actions as planners have them, `[..., A]`, to the environment's.

    Raises:
      ConfigError: numbers without bounds.
    """
    if env.num_actions:
        return index_of
    low, high = (
        torch.tensor(bounds, dtype=torch.float32, device=world.device) for bounds in (env.action_low, env.action_high)
    )
    if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise ConfigError(
            f"planner with '{env.id}', whose actions have no bounds; planners draw between bounds. Leave the planner "
            "out, which tries the policy's own actions."
        )
    scaled = numbers_of(low, high)
    return lambda action: scaled(action).reshape(*action.shape[:-1], *env.action.shape)


def _arrays(belief: Mapping[str, Tensor]) -> dict[str, Array]:
    return {f"{_BELIEF}{name}": tensor.cpu().numpy() for name, tensor in belief.items()}
