"""An algorithm as a record of functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from rlsys.api.learner import Learner, LearnerContext
from rlsys.api.policy import Policy, PolicyContext
from rlsys.api.replay import Cut, QueueSpec, StoreSpec, Turns, Unrolls
from rlsys.api.spaces import Spaces
from rlsys.api.world import World, WorldContext
from rlsys.errors import ConfigError
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


def _no_turns(config: Any, env: EnvSpec) -> Turns | None:
    return None


@dataclass(frozen=True)
class Algorithm:
    """An algorithm as the runtime sees it: a record of functions.

    Attributes:
      name: the folder's name, and of its section in a configuration.
      config_type: pydantic model of that section, with a default for every field.
      make_policy, make_learner: build the two halves; torch is imported inside them, not with the record.
      cut: how what is collected is cut, from the section and the environment.
      store: where it is kept, likewise: segments in a table, unrolls in a queue.
      check: raises ConfigError where the section cannot work with (config, env spec, number of environments in all
        rollout workers, number of learner ranks); called before any worker starts.
      values: what its values are of, from the section.
      example_env: fields of the env section (`rlsys.config.EnvConfig`): an environment on which it can be tried
        within seconds, with `debug`.
      turns: how much is collected before the learner goes on, likewise; None where both go on at the same time.
      debug: overrides of the section that shrink it to seconds (`debug=true`).
      is_reactive: each row of `Policy.act` depends on that row alone, and not on which environment it is, so that
        inference workers may decide for the environments of many rollout workers at once.
      make_world: builds the world model that a learner saved, for play and for evaluation; None without one.
      environments: the section's field that says how many environments all rollout workers share, where that decides
        what is learned; empty where each has runtime.environments_per_worker.
      temperature: the section's field that says at which temperature evaluations choose actions, 0 for the best one;
        empty where they always take that.
      refreshes: the section's field that says which share of what policies are asked is about stored rows, whose extras
        `Policy.refresh` finds out anew; empty where policies cannot. It needs a table.
      kept: the section's fields that a resumed run cannot change although all that is saved would have the same shapes,
        because it would mean something else ("world_model.heads" is one of a section within). What changes a shape is
        found without being named.
    """

    name: str
    config_type: type[BaseModel]
    make_policy: Callable[[PolicyContext], Policy]
    make_learner: Callable[[LearnerContext], Learner]
    cut: Callable[[Any, EnvSpec], Cut]
    store: Callable[[Any, EnvSpec], StoreSpec]
    check: Callable[[Any, EnvSpec, int, int], None]
    values: Callable[[Any], ValueSpec]
    example_env: Mapping[str, Any]
    spaces: Spaces = field(default_factory=Spaces)
    turns: Callable[[Any, EnvSpec], Turns | None] = _no_turns
    debug: Mapping[str, Any] = field(default_factory=dict)
    is_reactive: bool = False
    make_world: Callable[[WorldContext], World] | None = None
    environments: str = ""
    temperature: str = ""
    refreshes: str = ""
    kept: tuple[str, ...] = ()

    def replay(self, config: Any, env: EnvSpec, num_environments: int) -> tuple[Cut, StoreSpec, Turns | None]:
        """Returns how so many environments collect for a section: how it is cut, where it is kept, and in which turns.

        Rows of a turn that are cut into unrolls are shared out, a queue has room for what a turn brings, and no ratio
        holds back a table that is filled in turns.

        Raises:
          ConfigError: what is cut cannot be kept there, or cannot be counted as a turn.
        """
        cut, store, turns = self.cut(config, env), self.store(config, env), self.turns(config, env)
        if isinstance(cut, Unrolls) != isinstance(store, QueueSpec):
            raise ConfigError(
                f"{self.name} cuts {type(cut).__name__} for a {type(store).__name__}; Segments go into tables and "
                "Unrolls into queues. Change the algorithm's cut or its store."
            )
        if turns is not None:
            cut, turns = turns.shared_out(cut, num_environments)
            if isinstance(store, QueueSpec):
                size = turns.unrolls * num_environments
                store = QueueSpec(max_size=size, batch_size=size)
            else:
                store = replace(store, samples_per_insert=None)
        return cut, store, turns
