"""Which distribution suits which actions, and the one that cannot."""

import math
from dataclasses import replace

import pytest

from rlsys.errors import ConfigError
from rlsys.nets.distributions.categorical import Categorical, MultiCategorical
from rlsys.nets.distributions.gaussian import Gaussian, TanhGaussian
from rlsys.nets.distributions.make import make_distribution, make_head
from rlsys.nets.distributions.spaces import DRAWN, GaussianConfig, check_gaussian, drawn_extras, num_parameters
from rlsys.types import ArraySpec, EnvSpec

DISCRETE = EnvSpec("x", ArraySpec((3,), "float32"), ArraySpec((), "int64"), num_actions=4)
SEVERAL = replace(DISCRETE, action=ArraySpec((2,), "int64"), num_actions=0, action_choices=(2, 3))
NUMBERS = replace(
    DISCRETE, action=ArraySpec((2,), "float32"), num_actions=0, action_low=(-1.0, 0.0), action_high=(1.0, math.inf)
)


@pytest.mark.parametrize(
    ("env", "kind", "size"), [(DISCRETE, Categorical, 4), (SEVERAL, MultiCategorical, 5), (NUMBERS, Gaussian, 4)]
)
def test_every_action_space_has_its_distribution(env: EnvSpec, kind: type, size: int) -> None:
    assert type(make_distribution(GaussianConfig(), env)) is kind
    assert num_parameters(env) == size
    assert make_head(GaussianConfig(state_dependent_std=True), env, 7).weight.shape == (size, 7)
    assert drawn_extras(env) == ({DRAWN: ArraySpec((2,), "float32")} if env is NUMBERS else {})


def test_a_tanh_needs_finite_bounds() -> None:
    squashed = GaussianConfig(distribution_type="tanh_normal")
    message = r"ppo.distribution_type = tanh_normal with 'x', whose action 1 is between 0 and inf; .*=normal\.$"
    with pytest.raises(ConfigError, match=message):
        check_gaussian(squashed, NUMBERS, "ppo")
    for env in (DISCRETE, SEVERAL, bounded := replace(NUMBERS, action_high=(1.0, 1.0))):
        check_gaussian(squashed, env, "ppo")
    check_gaussian(GaussianConfig(), NUMBERS, "ppo")
    assert type(make_distribution(squashed, bounded)) is TanhGaussian
