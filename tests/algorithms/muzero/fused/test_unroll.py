"""The unroll with a written-out gradient against the one that autograd differentiates."""

import dataclasses
from typing import Any

import pytest
import torch
from support.fake_replay import ENV, IMAGES
from torch import Tensor

from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused.unroll import FusedUnroll
from rlsys.algorithms.muzero.networks import FCNetwork
from rlsys.types import EnvSpec


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def build(env: EnvSpec = ENV, **options: Any) -> FCNetwork:
    torch.manual_seed(0)
    network = make_network(MuZeroConfig.model_validate(options), env)
    assert isinstance(network, FCNetwork)
    return network


def make_input(env: EnvSpec, size: int, num_steps: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    observation = torch.randn((size, *env.policy_observation.shape), generator=generator) * 3.0
    return observation, torch.randint(0, env.num_actions, (size, num_steps), generator=generator)


def gradients(network: FCNetwork, unroll: Any, seed: int = 1) -> tuple[Tensor, ...]:
    """Returns the gradients of a fixed random combination of all outputs."""
    generator = torch.Generator().manual_seed(seed)
    total = sum((output * torch.randn(output.shape, generator=generator)).sum() for output in unroll)
    return torch.autograd.grad(total, list(network.parameters()))


@pytest.mark.parametrize("options", [{}, {"no_support": True}, {"value_support": [-3, 9], "reward_support": [0, 1]}])
@pytest.mark.parametrize(("size", "num_steps"), [(16, 5), (3, 1), (1, 2)])
def test_outputs_and_gradients_equal_autograd(options: dict[str, Any], size: int, num_steps: int) -> None:
    network = build(**options)
    data = make_input(ENV, size, num_steps)
    expected, found = network.unroll(*data), FusedUnroll(network, torch.float32)(*data)
    for reference, output in zip(expected, found, strict=True):
        torch.testing.assert_close(output, reference, rtol=1e-5, atol=1e-6)
    for reference, gradient in zip(gradients(network, expected), gradients(network, found), strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-5 * float(reference.abs().max()))


def test_stacked_images_and_bounds_are_read_alike() -> None:
    env = dataclasses.replace(IMAGES, observation_low=(-1.0,), observation_high=(2.0,))
    network, data = build(env), make_input(env, 4, 2)
    expected, found = network.unroll(*data), FusedUnroll(network, torch.float32)(*data)
    torch.testing.assert_close(found.policy, expected.policy, rtol=1e-5, atol=1e-6)


def test_memory_is_used_again_without_a_trace_of_the_last_call() -> None:
    network = build()
    fused = FusedUnroll(network, torch.float32)
    for size, num_steps, seed in ((8, 3, 0), (8, 3, 1), (5, 2, 2), (8, 3, 3)):
        data = make_input(ENV, size, num_steps, seed)
        reference = gradients(network, network.unroll(*data))
        for expected, found in zip(reference, gradients(network, fused(*data)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.1)


def test_outputs_of_the_last_call_stay_as_they_were() -> None:
    network = build()
    fused = FusedUnroll(network, torch.float32)
    first = fused(*make_input(ENV, 8, 3, seed=0))
    before = [output.detach().clone() for output in first]
    fused(*make_input(ENV, 8, 3, seed=1))
    assert all(torch.equal(output, copy) for output, copy in zip(first, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dead_states_have_finite_gradients(dtype: torch.dtype) -> None:
    network = build()
    with torch.no_grad():
        network.representation.out.bias.fill_(-100.0)
        network.dynamics.out.bias.fill_(-100.0)
    data = make_input(ENV, 4, 2)
    expected, found = network.unroll(*data), FusedUnroll(network, dtype)(*data)
    for reference, gradient in zip(gradients(network, expected), gradients(network, found), strict=True):
        torch.testing.assert_close(gradient, reference, rtol=0.1, atol=0.05 * float(reference.abs().max()) + 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf")])
def test_what_is_not_finite_reaches_the_outputs(dtype: torch.dtype, bad: float) -> None:
    network = build()
    observation, action_BK = make_input(ENV, 4, 2)
    observation[1, 2] = bad
    value, _, _ = FusedUnroll(network, dtype)(observation, action_BK)
    assert not value[1].isfinite().all()
    assert value[0].isfinite().all()


def test_rounded_products_give_nearly_the_same_gradient() -> None:
    network, data = build(), make_input(ENV, 32, 5)
    expected = torch.cat([g.flatten() for g in gradients(network, network.unroll(*data))])
    found = torch.cat([g.flatten() for g in gradients(network, FusedUnroll(network, torch.bfloat16)(*data))])
    assert found.dtype == torch.float32
    assert torch.cosine_similarity(expected, found, dim=0) > 0.98
