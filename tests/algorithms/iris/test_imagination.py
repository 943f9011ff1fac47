"""Dreams: what is seen before, what the world model is asked, and where gradients flow."""

from typing import Any

import pytest
import torch
from algorithms.iris.small_learners import CATCH, settings
from support.graphs import RepeatedGraph
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from rlsys.algorithms.iris.actor_critic import ActorCritic
from rlsys.algorithms.iris.components import sizes_of
from rlsys.algorithms.iris.imagination import Dream, burn_in, imagine, judge
from rlsys.algorithms.iris.tokenizer.tokenizer import Tokenizer
from rlsys.algorithms.iris.world_models.make import make_world_model
from rlsys.ops.captured import Captured, Inputs

SHAPE = (1, 20, 16)
B, R, T = 5, 3, 4
WHOLE = torch.ones(B, R + 1, dtype=torch.bool)


def parts(**changes: Any) -> tuple[Tokenizer, Any, ActorCritic]:
    torch.manual_seed(0)
    config = settings(**changes)
    return (
        Tokenizer(config.tokenizer, SHAPE).eval(),
        make_world_model(config.world_model, sizes_of(config, CATCH)).eval(),
        ActorCritic(config.actor_critic, SHAPE, 3).eval(),
    )


def frames(rows: int = R + 1) -> Tensor:
    return torch.randint(256, (B, rows, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_gradients_flow_into_the_actor_critic_alone() -> None:
    tokenizer, world_model, actor_critic = parts()
    dream = imagine(tokenizer, world_model, actor_critic, frames(), WHOLE, T)
    assert dream.frames.shape == (B, T, *SHAPE)
    assert all(part.shape == (B, T - 1) for part in (dream.action, dream.reward, dream.terminated))
    assert not any(part.requires_grad for part in pytree.tree_leaves(dream)) and dream.terminated.dtype == torch.bool
    assert dream.reward.unique().tolist() in ([-1.0, 0.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 1.0])
    opinion = judge(actor_critic, dream)
    assert opinion.value.shape == (B, T) and opinion.value_said.shape == (B, T, 1)
    assert opinion.log_probability.shape == opinion.entropy.shape == (B, T - 1)
    (opinion.value.sum() + opinion.log_probability.sum()).backward()
    assert all(parameter.grad is not None for parameter in actor_critic.parameters())
    assert all(parameter.grad is None for part in (tokenizer, world_model) for parameter in part.parameters())


def test_what_is_said_of_all_frames_is_what_is_said_of_one_after_the_other() -> None:
    tokenizer, world_model, actor_critic = parts()
    given, mask = frames(), torch.ones(B, R + 1, dtype=torch.bool)
    dream = imagine(tokenizer, world_model, actor_critic, given, mask, T)
    memory = burn_in(actor_critic, tokenizer, given[:, :-1], mask[:, :-1])
    torch.testing.assert_close(dream.frames[:, 0], tokenizer.reconstruct(given[:, -1]))
    opinion = judge(actor_critic, dream)
    for step in range(T):
        judged = actor_critic(dream.frames[:, step], memory)
        memory = judged.memory
        torch.testing.assert_close(opinion.value[:, step], judged.value)
        if step < T - 1:
            policy = torch.distributions.Categorical(logits=judged.policy)
            torch.testing.assert_close(opinion.entropy[:, step], policy.entropy())
            torch.testing.assert_close(opinion.log_probability[:, step], policy.log_prob(dream.action[:, step]))


def test_a_policy_can_be_shown_real_frames_as_they_are() -> None:
    tokenizer, world_model, actor_critic = parts()
    given = frames()
    original = imagine(tokenizer, world_model, actor_critic, given, WHOLE, T, original=True)
    seen = actor_critic(given[:, -1], burn_in(actor_critic, None, given[:, :-1], WHOLE[:, :-1]))
    torch.testing.assert_close(judge(actor_critic, original).value[:, 0], seen.value)


@pytest.mark.parametrize("changes", [{}, {"frames": "parallel"}, {"kind": "ncp_single_step", "ncp_units": 400}])
def test_a_horizon_never_waits_for_a_number(changes: dict[str, Any]) -> None:
    networks = parts(world_model=changes)
    imagine(*networks, frames(), WHOLE, T)  # what is inferred with is made
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # tensors without numbers: to ask for one is an error
        dream = imagine(*networks, mode.from_tensor(frames()), mode.from_tensor(WHOLE), T)
    assert dream.frames.shape == (B, T, *SHAPE)


def test_a_recorded_horizon_is_dreamed_with_the_weights_of_now() -> None:
    tokenizer, world_model, actor_critic = parts()

    def dream(inputs: Inputs) -> Dream:
        return imagine(tokenizer, world_model, actor_critic, inputs["frame"], inputs["mask"], T)

    recorded, inputs = Captured(dream, RepeatedGraph), {"frame": frames(), "mask": WHOLE}
    first = recorded(inputs)
    with torch.no_grad():
        for network in (tokenizer, world_model, actor_critic):
            for parameter in network.parameters():
                parameter.mul_(1.5)
    dreams = []
    for function in (dream, recorded):
        torch.manual_seed(7)
        dreams.append(pytree.tree_leaves(function(inputs)))
    assert all(map(torch.equal, *dreams))
    assert not torch.equal(dreams[1][0], first.frames)


def test_frames_that_there_are_not_are_as_if_they_had_never_been() -> None:
    tokenizer, _, actor_critic = parts()
    given, mask = frames(R), torch.ones(B, R, dtype=torch.bool)
    mask[0, :2] = False
    mask[1, :] = False
    memory = burn_in(actor_critic, tokenizer, given, mask)
    late = burn_in(actor_critic, tokenizer, given[:1, 2:], mask[:1, 2:])
    torch.testing.assert_close(memory.hidden[0], late.hidden[0])
    assert not memory.hidden[1].any() and not memory.cell[1].any()
    assert memory.hidden[2].any()
    nothing = burn_in(actor_critic, tokenizer, given[:, :0], mask[:, :0])
    assert not nothing.hidden.any()


@pytest.mark.parametrize("kind", ["transformer", "ncp_single_step", "ncp_multi_step"])
def test_every_world_model_can_be_dreamed_in(kind: str) -> None:
    units = {} if kind == "transformer" else {"ncp_units": 400}
    tokenizer, world_model, actor_critic = parts(world_model={"kind": kind, **units})
    opinion = judge(actor_critic, imagine(tokenizer, world_model, actor_critic, frames(), WHOLE, 7))
    assert torch.isfinite(opinion.value).all() and (opinion.log_probability <= 0).all()
