"""Dreams: what is seen before, what the world model is asked, and where gradients flow."""

from typing import Any

import pytest
import torch
from algorithms.iris.small_learners import CATCH, settings
from torch import Tensor

from rlsys.algorithms.iris.actor_critic import ActorCritic
from rlsys.algorithms.iris.components import sizes_of
from rlsys.algorithms.iris.imagination import burn_in, imagine
from rlsys.algorithms.iris.tokenizer.tokenizer import Tokenizer
from rlsys.algorithms.iris.world_models.make import make_world_model

SHAPE = (1, 20, 16)
B, R, T = 5, 3, 4


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
    dream = imagine(tokenizer, world_model, actor_critic, frames(), torch.ones(B, R + 1, dtype=torch.bool), T)
    assert dream.value.shape == (B, T) and dream.value_said.shape == (B, T, 1)
    assert all(part.shape == (B, T - 1) for name, part in dream._asdict().items() if "value" not in name)
    (dream.value.sum() + dream.log_probability.sum()).backward()
    assert all(parameter.grad is not None for parameter in actor_critic.parameters())
    assert all(parameter.grad is None for part in (tokenizer, world_model) for parameter in part.parameters())
    assert not dream.reward.requires_grad and dream.terminated.dtype == torch.bool
    assert dream.reward.unique().tolist() in ([-1.0, 0.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 1.0])


def test_the_first_value_is_of_the_last_real_frame_after_those_before_it() -> None:
    tokenizer, world_model, actor_critic = parts()
    given, mask = frames(), torch.ones(B, R + 1, dtype=torch.bool)
    dream = imagine(tokenizer, world_model, actor_critic, given, mask, T)
    memory = burn_in(actor_critic, tokenizer, given[:, :-1], mask[:, :-1])
    first = actor_critic(tokenizer.reconstruct(given[:, -1]), memory)
    torch.testing.assert_close(dream.value[:, 0], first.value)
    policy = torch.distributions.Categorical(logits=first.policy)
    torch.testing.assert_close(dream.entropy[:, 0], policy.entropy())
    original = imagine(tokenizer, world_model, actor_critic, given, mask, T, original=True)
    seen = actor_critic(given[:, -1], burn_in(actor_critic, None, given[:, :-1], mask[:, :-1]))
    torch.testing.assert_close(original.value[:, 0], seen.value)


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
    dream = imagine(*parts(world_model={"kind": kind, **units}), frames(), torch.ones(B, R + 1, dtype=torch.bool), 7)
    assert torch.isfinite(dream.value).all() and (dream.log_probability <= 0).all()
