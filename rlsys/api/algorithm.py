"""An algorithm as a record of functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from rlsys.api.learner import Learner, LearnerContext
from rlsys.api.policy import Policy, PolicyContext
from rlsys.api.replay import SegmentSpec, TableSpec
from rlsys.api.spaces import Spaces
from rlsys.api.world import World, WorldContext
from rlsys.types import Array, EnvSpec


@dataclass(frozen=True)
class ValueSpec:
    """What an algorithm's values are of: the discounted rewards of the episode from here on, as it counts them.

    Attributes:
      discount: per decision.
      extra: name of the extra that holds the policy's value of each observation, in units of rewards.
      reward_bound: rewards count as clamped to ± this; None counts them as they are stored.
      reward_extra: name of the extra by which evaluations tell the reward that a model predicts for the chosen action,
        in units of raw rewards; empty where nothing predicts it.
    """

    discount: float
    extra: str
    reward_bound: float | None = None
    reward_extra: str = ""

    def learned(self, reward: Array) -> Array:
        """Returns stored rewards as they count."""
        return reward if self.reward_bound is None else reward.clip(-self.reward_bound, self.reward_bound)


@dataclass(frozen=True)
class Algorithm:
    """An algorithm as the runtime sees it: a record of functions.

    Attributes:
      name: the folder's name, and of its section in a configuration.
      config_type: pydantic model of that section, with a default for every field.
      make_policy, make_learner: build the two halves; torch is imported inside them, not with the record.
      segments: how episodes are cut, from the section and the environment.
      table: the replay table, likewise.
      check: raises ConfigError where the section cannot work with (config, env spec, number of environments in all
        rollout workers, number of learner ranks); called before any worker starts.
      values: what its values are of, from the section.
      example_env: fields of the env section (`rlsys.config.EnvConfig`): an environment on which it can be tried
        within seconds, with `debug`.
      spaces: which actions and observations it can handle; another environment is refused before anything starts.
      debug: overrides of the section that shrink it to seconds (`debug=true`).
      is_reactive: each row of `Policy.act` depends on that row alone, and not on which environment it is, so that
        inference workers may decide for the environments of many rollout workers at once.
      make_world: builds the world model that a learner saved, for play and for evaluation; None without one.
      environments: the section's field that says how many environments all rollout workers share, where that decides
        what is learned; empty where each has runtime.environments_per_worker.
      temperature: the section's field that says at which temperature evaluations choose actions, 0 for the best one;
        empty where they always take that.
      kept: the section's fields that a resumed run cannot change although all that is saved would have the same shapes,
        because it would mean something else. What changes a shape is found without being named.
    """

    name: str
    config_type: type[BaseModel]
    make_policy: Callable[[PolicyContext], Policy]
    make_learner: Callable[[LearnerContext], Learner]
    segments: Callable[[Any, EnvSpec], SegmentSpec]
    table: Callable[[Any, EnvSpec], TableSpec]
    check: Callable[[Any, EnvSpec, int, int], None]
    values: Callable[[Any], ValueSpec]
    example_env: Mapping[str, Any]
    spaces: Spaces = field(default_factory=Spaces)
    debug: Mapping[str, Any] = field(default_factory=dict)
    is_reactive: bool = False
    make_world: Callable[[WorldContext], World] | None = None
    environments: str = ""
    temperature: str = ""
    kept: tuple[str, ...] = ()
