"""What an environment shows, and its parts, are always the same thing."""

from dataclasses import replace

import numpy as np
import pytest

from rlsys.types import ArraySpec, EnvSpec, Part

NUMBERS, FRAME = ArraySpec((3,), "float32"), ArraySpec((64, 64), "uint8")
ARM = ArraySpec((), np.dtype([("arm", "<f4", (3,))]))
ENV = EnvSpec("x", NUMBERS, ArraySpec((), "int64"), 2, num_stack=4, observation_low=(0.0,), observation_high=(9.0,))


@pytest.mark.parametrize("env", [ENV, replace(ENV, observation=ARM, parts=(Part("arm", NUMBERS),))])
def test_another_observation_comes_with_its_own_parts(env: EnvSpec) -> None:
    seen = env.with_observation(FRAME)
    assert (seen.observation, seen.parts, seen.num_stack) == (FRAME, (Part("", FRAME),), 1)
    assert seen.observation_low == seen.observation_high == ()
    assert (seen.id, seen.action, seen.num_actions) == (env.id, env.action, env.num_actions)


@pytest.mark.parametrize("other", [FRAME, ARM])
def test_an_observation_without_its_parts_is_noticed(other: ArraySpec) -> None:
    with pytest.raises(AssertionError, match="`with_observation` replaces both"):
        replace(ENV, observation=other)
    with pytest.raises(AssertionError, match="`with_observation` replaces both"):
        replace(ENV, parts=(Part("leg", NUMBERS),), observation=ARM)
