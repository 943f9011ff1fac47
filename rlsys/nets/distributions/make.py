"""The distribution that suits an environment's actions, and the layer that says its parameters."""

from math import prod

from torch import nn

from rlsys.api.spaces import action_kind
from rlsys.nets.distributions.categorical import Categorical, MultiCategorical
from rlsys.nets.distributions.distribution import ActionDistribution
from rlsys.nets.distributions.gaussian import Gaussian, GaussianHead, TanhGaussian
from rlsys.nets.distributions.spaces import GaussianConfig, num_parameters
from rlsys.types import EnvSpec


def make_distribution(config: GaussianConfig, env: EnvSpec) -> ActionDistribution:
    """Returns the family of distributions that policies of an environment are of."""
    match action_kind(env):
        case "discrete":
            return Categorical()
        case "choices":
            return MultiCategorical(env.action_choices, env.action.shape)
        case "numbers":
            return TanhGaussian(env) if config.distribution_type == "tanh_normal" else Gaussian(env)


def make_head(config: GaussianConfig, env: EnvSpec, num_features: int) -> nn.Linear:
    """Returns a layer that says parameters `[..., P]`; one of a categorical is as torch begins a layer."""
    if action_kind(env) != "numbers":
        return nn.Linear(num_features, num_parameters(env))
    return GaussianHead(
        num_features,
        prod(env.action.shape),
        predicts_std=config.state_dependent_std,
        init_std=config.init_noise_std,
    )
