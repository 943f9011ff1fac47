"""What the actor-critic does in the world model, and what it says of that, to learn from it.

It has seen real frames before (the burn-in); the world model begins from the last of them alone. From there on all is
imagined, and goes on although an episode has ended: returns do not reach over the end.

Acting has no gradient, and asks the device for nothing, so that a whole horizon can be recorded as one graph
(`rlsys.ops.captured`); what is learned from is said afterwards, of all frames at once (`judge`).

Micheli et al. 2023, section 2.3, https://arxiv.org/abs/2209.00588.

Shape legend: B copies, R real frames, C channels, H and W of a frame, K tokens, T imagined frames.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsys.algorithms.iris.actor_critic import ActorCritic, Recalled, seen
from rlsys.algorithms.iris.tokenizer.tokenizer import Before, Tokenizer, within_one
from rlsys.algorithms.iris.world_models.drawing import draw
from rlsys.algorithms.iris.world_models.interface import WorldModel
from rlsys.nets.distributions.categorical import entropy, log_probability


class Dream(NamedTuple):
    """What was imagined: T frames, and T - 1 steps between them; nothing has a gradient.

    Attributes:
      frames: `[B, T, C, H, W]` within [0, 1], what was seen; the first one is real.
      memory: what was remembered before them.
      action: `[B, T - 1]` int64, what was done.
      reward: `[B, T - 1]`.
      terminated: `[B, T - 1]` bool.
    """

    frames: Tensor
    memory: Recalled
    action: Tensor
    reward: Tensor
    terminated: Tensor


class Opinion(NamedTuple):
    """What the actor-critic says of a dream, with gradients.

    Attributes:
      log_probability: `[B, T - 1]`, of what was done.
      entropy: `[B, T - 1]`, of the policy there.
      value: `[B, T]`.
      value_said: `[B, T, n]`, what the head says of it (scalars.py).
    """

    log_probability: Tensor
    entropy: Tensor
    value: Tensor
    value_said: Tensor


@torch.no_grad()
def imagine(
    tokenizer: Tokenizer,
    world_model: WorldModel[Any],
    actor_critic: ActorCritic,
    frames: Tensor,
    mask: Tensor,
    horizon: int,
    *,
    original: bool = False,
) -> Dream:
    """Lets the policy act at temperature 1.

    Args:
      tokenizer: shows frames.
      world_model: where.
      actor_critic: acts.
      frames: `[B, R, C, H, W]` bytes, real ones; of the last one on it is imagined.
      mask: `[B, R]` bool, false where there is none, as before the beginning of an episode.
      horizon: T.
      original: show real frames as they are.
    """
    begun = memory = burn_in(actor_critic, None if original else tokenizer, frames[:, :-1], mask[:, :-1])
    tokens = tokenizer.encode(frames[:, -1:])[:, 0]
    state = world_model.begin(len(frames), frames.device)
    world_model.observe(state, tokens)
    shown = [within_one(frames[:, -1]) if original else tokenizer.decode_tokens(tokens)]
    actions, rewards, ends = [], [], []
    for _ in range(horizon - 1):
        judged = actor_critic(shown[-1], memory)
        action, memory = draw(judged.policy), judged.memory
        imagined = world_model.imagine(state, action, frame=shown[-1])
        assert imagined.tokens is not None, "the next frame is drawn"
        actions.append(action)
        rewards.append(imagined.reward)
        ends.append(imagined.terminated)
        shown.append(tokenizer.decode_tokens(imagined.tokens, Before(shown[-1], action)))
    stacked = [torch.stack(part, dim=1) for part in (shown, actions, rewards, ends)]
    return Dream(stacked[0], begun, *stacked[1:])


def judge(actor_critic: ActorCritic, dream: Dream) -> Opinion:
    """Returns what is said of a dream; gradients flow through all that is remembered."""
    judged = actor_critic.judge_all(dream.frames, dream.memory)
    policy = judged.policy[:, :-1]
    return Opinion(log_probability(policy, dream.action), entropy(policy), judged.value, judged.value_said)


@torch.no_grad()
def burn_in(actor_critic: ActorCritic, tokenizer: Tokenizer | None, frames: Tensor, mask: Tensor) -> Recalled:
    """Returns what is remembered after real frames.

    Args:
      actor_critic: sees them.
      tokenizer: shows them; None shows them as they are.
      frames: `[B, R, C, H, W]` bytes.
      mask: `[B, R]` bool, false where there is none.
    """
    memory = actor_critic.nothing(len(frames))
    if not frames.shape[1]:
        return memory
    shown = seen(tokenizer, frames)
    for frame, is_there in zip(shown.unbind(1), mask.unbind(1), strict=True):
        after = actor_critic.recall(frame, memory)
        memory = Recalled(*(torch.where(is_there[:, None], new, old) for new, old in zip(after, memory, strict=True)))
    return memory
