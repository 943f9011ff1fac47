"""Settings of RLlib's algorithms; what is none here is left as RLlib has it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from rlsys.config import Section
from rlsys.config.quantities import Count, Flag, Norm, Probability, Rate, Units, Weight, Workers


class RllibConfig(Section):
    """Which of RLlib's algorithms, its sampling, its losses and its network."""

    algorithm: Literal["impala", "appo", "ppo"] = "impala"
    """RLlib's algorithm."""
    env_runners: Workers | Literal["auto"] = "auto"
    """Processes that step environments; auto: runtime.rollout_workers, or, if that is auto, one per core but one."""
    environments_per_runner: Workers | Literal["auto"] = "auto"
    """Environments that one of them steps in lockstep; auto: runtime.environments_per_worker."""
    rollout_fragment_length: Count | None = None
    """Decisions of each environment in one sample; none: 50, for ppo what fills a batch."""
    train_batch_size: Count | None = None
    """Decisions per batch; none: 500, for ppo 4000. impala and appo take whole samples, so at least one of a runner."""
    learning_rate: Annotated[Rate, Field(gt=0.0)] | None = None
    """Learning rate of Adam; none: 0.0005, for ppo 0.00005."""
    gamma: Probability | None = None
    """Discount γ; none: 0.99."""
    entropy_cost: Weight | None = None
    """Weight of the entropy; none: 0.01, for ppo 0."""
    value_cost: Weight | None = None
    """Weight of the value loss; none: 0.5, for ppo 1."""
    grad_clip: Norm | None = None
    """Largest norm of the whole gradient; none: 40, for ppo no limit."""
    network: Literal["auto", "nature", "mlp"] = "auto"
    """DQN's three convolutions or dense layers alone; auto: nature for pictures, else mlp."""
    hidden_sizes: tuple[Units, ...] | None = Field(None, min_length=1)
    """Dense layers, of mlp or after nature's convolutions; none: 256 and 256, after convolutions 512."""
    activation: Literal["relu", "tanh"] = "relu"
    """Nonlinearity of the dense layers."""
    share_layers: Flag = True
    """Policy and value see the observation through the same layers."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of `.training()` of the algorithm's configuration in RLlib, such as {clip_param: 0.2}."""
