"""What another system's algorithm must offer to train here: on our environments, reported in our metrics.

It brings workers of its own and is only driven and recorded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from rlsys.api.spaces import Spaces
from rlsys.types import EnvSpec


@dataclass(frozen=True)
class BaselineContext:
    """What a baseline's run is built from.

    Attributes:
      config: the baseline's section of the experiment.
      env: the experiment's `env` section, from which `rlsys.envs.make` makes environments.
      env_spec: the spec of one environment.
      runtime: the experiment's `runtime` section.
      seed: of everything random.
      num_cpus: CPU cores of the cluster.
      num_gpus: its GPUs; None while that is not known.
      period_s: about how long one `BaselineRun.work` may take, in seconds.
    """

    config: Any
    env: Any
    env_spec: EnvSpec
    runtime: Any
    seed: int
    num_cpus: int
    num_gpus: int | None = None
    period_s: float = 1.0


@dataclass(frozen=True)
class BaselineReport:
    """What a baseline did during one `BaselineRun.work`.

    Attributes:
      env_steps: decisions of all its environments.
      learner_steps: updates.
      returns, lengths: raw returns and decisions of the whole games that ended.
      metrics: further numbers, named `group/name`.
    """

    env_steps: int
    learner_steps: int
    returns: Sequence[float] = ()
    lengths: Sequence[int] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


class BaselineRun(Protocol):
    """Another system's training, driven in small portions; it owns the processes it starts."""

    def work(self) -> BaselineReport:
        """Trains for about `BaselineContext.period_s` and says what was done."""

    def close(self) -> None:
        """Ends all processes of the run; called once, after errors, too."""


@dataclass(frozen=True)
class Baseline:
    """Another system's algorithm as the runtime sees it: trained on our environments, reported in our metrics.

    The runtime keeps the folder, the budgets and the metrics; everything else is the other system's. There are no
    checkpoints, so such a run is neither resumed nor evaluated.

    Attributes:
      name: the folder's name under rlsys/baselines, and of its section in a configuration.
      config_type: pydantic model of that section, with a default for every field.
      make_run: starts the training in the cluster that has been joined; what it needs is imported inside.
      check: raises ConfigError where the context cannot work; called before any process starts, and again when the
        size of the cluster is known.
      spaces: which actions and observations it can handle.
      debug: overrides of the section that shrink it to seconds (`debug=true`).
    """

    name: str
    config_type: type[BaseModel]
    make_run: Callable[[BaselineContext], BaselineRun]
    check: Callable[[BaselineContext], None]
    spaces: Spaces = field(default_factory=Spaces)
    debug: Mapping[str, Any] = field(default_factory=dict)
