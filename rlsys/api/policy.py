"""Who acts: for many environments at once, in rollout workers, inference workers and evaluators."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlsys.api.saved import Saved
from rlsys.types import Array, EnvSpec, State, Weights


@dataclass
class Decision:
    """What a policy returns for B observations.

    Attributes:
      action: `[B, *action]`.
      state: the state for the next call, batch axis first.
      extras: name -> `[B, ...]`, stored with the row and given back in `Batch.extras`.
      priority: `[B]` float64 initial priorities of the rows as items (exponent applied), or None.
      encoded: `[B, ...]`, where `Unrolls.encoded` says that replay stores this and not the observation.
      weights_version: of the weights that decided, where they live in another process.
    """

    action: Array
    state: State
    extras: dict[str, Array] = field(default_factory=dict)
    priority: Array | None = None
    encoded: Array | None = None
    weights_version: int | None = None


@dataclass
class Refreshed:
    """What a policy finds out anew about B observations that replay holds.

    Attributes:
      extras: name -> `[B, ...]`, which replace those of the rows; others of the cut's stay as they are.
      priority: `[B]` float64 new priorities of the rows as items (exponent applied); None leaves them as they are.
    """

    extras: dict[str, Array]
    priority: Array | None = None


@dataclass(frozen=True)
class PolicyContext:
    """What a policy is built from.

    Attributes:
      config: the algorithm's section of the experiment.
      env: the environment's spec.
      seed: unique to the worker.
      first_environment: global index of the worker's first environment.
      num_environments: environments that the worker steps, the largest batch it will act for.
      device: torch device name.
    """

    config: Any
    env: EnvSpec
    seed: int
    first_environment: int = 0
    num_environments: int = 1
    device: str = "cpu"


class Policy(abc.ABC):
    """Chooses actions for a batch of environments; lives in rollout workers and evaluators.

    It holds weights and random generators, never an episode's memory: that is the state that goes in and comes out.
    """

    @abc.abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Returns the state at the start of an episode, batch axis first; `{}` for a policy without memory."""

    @abc.abstractmethod
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Chooses an action for each observation.

        Args:
          observation: `[B, *EnvSpec.policy_observation.shape]`, raw values. Owned by the caller and overwritten after
            the call: copy what must be kept.
          state: what the last decision returned; the caller has put `initial_state` into the rows of new episodes.
          explore: True while collecting; False for evaluation (greedy, no noise).
        """

    def refresh(self, observation: Array) -> Refreshed:
        """Finds out anew, with the weights that it has now, what replay keeps of stored observations.

        It is called by turns with `act`, or in workers that do nothing else, where `Algorithm.refreshes` names a
        setting that is above 0.

        Args:
          observation: `[B, *EnvSpec.policy_observation.shape]`, as `act` has seen them; the caller owns them.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot refresh what replay keeps")

    def encode(self, observation: Array) -> Array:
        """Returns what replay stores instead of observations, of some of them; see `Unrolls.encoded`."""
        return observation

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Tells what came of the last decision, before the next one, where the policy's state shall remember it.

        Args:
          state: what that decision returned.
          action: `[B, *action]`, what was executed; wrappers may have replaced what was asked for.
          reward: `[B]` float32, as it is learned from.

        Returns:
          The state for the next call. Rows of ended episodes are replaced by `initial_state` after this.
        """
        return state

    def latents(self, state: State) -> Mapping[str, Array]:
        """Returns what it knows of where environments are, for who compares that with where they truly are.

        Args:
          state: what its last decision returned.

        Returns:
          "sample", "belief" or both -> `[B, D]`, what is drawn and what is remembered; `{}` for a policy without a
          model.
        """
        return {}

    @abc.abstractmethod
    def set_weights(self, weights: Weights) -> None:
        """Takes over weights. The arrays may be kept, and never change: they may lie in memory that processes share."""

    @abc.abstractmethod
    def weights(self) -> Mapping[str, Array]:
        """Returns the arrays that it acts with, equal to those of `set_weights`; the runtime compares them.

        `{}` before the first weights, and for a policy that decides elsewhere.
        """

    def save(self) -> Saved:
        """Returns what continues exactly from here besides the weights, such as random states."""
        return {}

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""
        assert not saved, f"{type(self).__name__} saves something but does not load it"
