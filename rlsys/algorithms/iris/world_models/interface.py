"""What a world model over discrete tokens is: losses to learn from, and a memory to imagine in.

    losses = model.losses(tokens, action, reward, terminated, mask)
    memory = model.begin(batch, device)                                 # reads the weights
    model.observe(memory, tokens)                                       # or observe_many, of real history
    reward, terminated, tokens = model.imagine(memory, action)          # writes into the memory

A frame is K tokens; with the action that was done after it, it is a block (Micheli et al. 2023, section 2,
https://arxiv.org/abs/2209.00588). Where tokens are deltas, which say only what is new in a frame, the model sees with
each action also the frame in which it was done (`Sizes.frame`; Micheli et al. 2024, https://arxiv.org/abs/2406.19320).

Shape legend: B batch or copies, L blocks, R frames of real history, K tokens of a frame, V vocabulary, A actions, M
tokens that are foretold.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.layers import Snapshot
from rlsys.algorithms.iris.world_models.memory import Memory, State, memories, put_together
from rlsys.algorithms.iris.world_models.rewards import make_reward_code
from rlsys.nets.precision import autocast, multiplies_bfloat16

N = TypeVar("N", bound=nn.Module)
_IGNORED = -100


@dataclass(frozen=True)
class Sizes:
    """What is modelled.

    Attributes:
      tokens: K, of a frame.
      vocabulary: V.
      actions: A.
      frame: channels, height and width of the frames that the model sees with each action; None where it sees none.
    """

    tokens: int = 16
    vocabulary: int = 512
    actions: int = 4
    frame: tuple[int, int, int] | None = None

    @property
    def block(self) -> int:
        """Tokens of a frame and of the action after it."""
        return self.tokens + 1


class Foretold(NamedTuple):
    """What is foretold of a batch.

    Attributes:
      token: `[B, M, V]` logits of the last M of all L K tokens.
      reward: `[B, L, C]` logits, of each action.
      end: `[B, L, 2]` logits, of each action.
    """

    token: Tensor
    reward: Tensor
    end: Tensor


class Imagined(NamedTuple):
    """What came of one step of each copy.

    Attributes:
      reward: `[B]` float32.
      terminated: `[B]` bool.
      tokens: `[B, K]` int64 of the next frame, in memory of their own; None if that was not asked for.
    """

    reward: Tensor
    terminated: Tensor
    tokens: Tensor | None


class Traced(NamedTuple):
    """Steps as functions of tensors alone, of copies that are all as far as each other.

    Attributes:
      step: (state, action, generator, frame) -> what `WorldModel.step` returns.
      renew: state -> the same state with room for a step; None where there always is.
      most_known: what "known" is at most where there is room.
    """

    step: Callable[[State, Tensor, torch.Generator | None, Tensor | None], tuple[dict[str, Tensor], Imagined]]
    renew: Callable[[State], dict[str, Tensor]] | None = None
    most_known: int = 0


class WorldModel(nn.Module, abc.ABC, Generic[N]):
    """See the module. Nothing of any episode is in it: several memories are alive at once.

    Attributes:
      sizes: of what is modelled.
      rewards: what logits say of rewards.
      network: all that is learned.
    """

    network: N

    def __init__(self, config: WorldModelConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        self.rewards = make_reward_code(config.rewards)
        self._snapshot: Snapshot[N] | None = None

    @abc.abstractmethod
    def foretell(self, tokens_BLK: Tensor, action_BL: Tensor, frames: Tensor | None = None) -> Foretold:
        """Returns logits of what follows each token and action, which was done in `[B, L, C, H, W]` if frames are seen.

        Where they are, tokens of first frames say nothing and are not foretold.
        """

    @abc.abstractmethod
    def begin(self, batch: int, device: torch.device) -> Memory:
        """Returns a memory of nothing, and reads the weights, as they are now, for all that are alive."""

    @abc.abstractmethod
    def observe(
        self, memory: Memory, tokens_BK: Tensor, action_B: Tensor | None = None, frame: Tensor | None = None
    ) -> None:
        """Remembers a frame that was seen and, unless it is the newest, what was done then, in `[B, C, H, W]`."""

    @abc.abstractmethod
    def imagine(
        self,
        memory: Memory,
        action_B: Tensor,
        generator: torch.Generator | None = None,
        *,
        frame: Tensor | None = None,
        next_frame: bool = True,
    ) -> Imagined:
        """Draws what comes of one step of each copy, and remembers it.

        Shapes depend on nothing but those of the memory and its counts, and the device is never asked for a number: on
        a GPU a whole horizon can be recorded as one graph, if `begin` is called before each replay.

        Args:
          memory: written in place.
          action_B: int64, done in the newest frame.
          generator: torch's, on the model's device; all that is random is drawn from it. None: torch's own stream.
          frame: `[B, C, H, W]`, bytes or numbers within [0, 1], in which that was done; only who sees frames needs it.
          next_frame: false where nobody looks further: only reward and end are drawn.
        """

    def observe_many(self, memory: Memory, tokens_BRK: Tensor, action_BR: Tensor, frames: Tensor | None = None) -> None:
        """Remembers R frames, `[B, R, C, H, W]`, and the R - 1 actions between them, in one pass where it can."""
        seen = [None] * tokens_BRK.shape[1] if frames is None else frames.unbind(1)
        for tokens_BK, action_B, frame in zip(tokens_BRK.unbind(1), (*action_BR.unbind(1), None), seen, strict=True):
            self.observe(memory, tokens_BK, action_B, frame)

    def step(
        self,
        state: State,
        action_B: Tensor,
        generator: torch.Generator | None = None,
        frame: Tensor | None = None,
    ) -> tuple[State, Imagined]:
        """Imagines from a state that stays as it is; copies may have come there by different ways.

        On a GPU it waits to learn how far they are.

        Returns:
          The state after it, in tensors of its own, and what came of it.
        """
        states, steps = [], []
        for index, memory in memories(state):
            seen = None if frame is None else frame[index]
            imagined = self.imagine(memory, action_B[index], generator, frame=seen)
            states.append((index, memory.state()))
            steps.append((index, {name: part for name, part in imagined._asdict().items() if part is not None}))
        return put_together(states), Imagined(**put_together(steps))

    @abc.abstractmethod
    def traced(self) -> Traced:
        """Returns the steps as functions that can be traced, of the weights that the last `begin` has read."""

    def losses(
        self,
        tokens_BLK: Tensor,
        action_BL: Tensor,
        reward_BL: Tensor,
        terminated_BL: Tensor,
        mask_BL: Tensor,
        frames: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Returns mean cross entropies: "observation", "reward" and "end"; see `window_losses`."""
        every = self.window_losses(tokens_BLK, action_BL, reward_BL, terminated_BL, mask_BL, frames)
        return {name: masked_mean(losses, mask) for name, (losses, mask) in every.items()}

    def window_losses(
        self,
        tokens_BLK: Tensor,
        action_BL: Tensor,
        reward_BL: Tensor,
        terminated_BL: Tensor,
        mask_BL: Tensor,
        frames: Tensor | None = None,
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Returns each cross entropy, "observation" `[B, M]`, "reward" and "end" `[B, L]`, and which of them count.

        Args:
          tokens_BLK: int64.
          action_BL: int64, done after each frame.
          reward_BL: what came of it, as it is learned from.
          terminated_BL: whether the episode was over then.
          mask_BL: false where a row has no block, at its beginning or end; such are as if they were not there.
          frames: `[B, L, C, H, W]`, bytes, that were seen then; only who sees frames needs them.
        """
        foretold, (tokens_BLK, reward_BL, terminated_BL, mask_BL) = self._foretold(
            tokens_BLK, action_BL, reward_BL, terminated_BL, mask_BL, frames
        )
        ends = functional.cross_entropy(
            foretold.end.float().flatten(0, 1), terminated_BL.long().flatten(), reduction="none"
        )
        return {
            "observation": _token_losses(foretold.token, tokens_BLK, mask_BL),
            "reward": (self.rewards.loss(foretold.reward.float(), reward_BL), mask_BL),
            "end": (ends.view(mask_BL.shape), mask_BL),
        }

    @torch.no_grad()
    def metrics(
        self,
        tokens_BLK: Tensor,
        action_BL: Tensor,
        reward_BL: Tensor,
        terminated_BL: Tensor,
        mask_BL: Tensor,
        frames: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Returns which shares are foretold rightly: "token_accuracy", "reward_accuracy" and "end_accuracy"."""
        foretold, (tokens_BLK, reward_BL, terminated_BL, mask_BL) = self._foretold(
            tokens_BLK, action_BL, reward_BL, terminated_BL, mask_BL, frames
        )
        labels, known = _labels(foretold.token, tokens_BLK, mask_BL)
        return {
            "token_accuracy": masked_mean(foretold.token.argmax(-1) == labels, known),
            "reward_accuracy": masked_mean(self.rewards.is_right(foretold.reward, reward_BL), mask_BL),
            "end_accuracy": masked_mean(foretold.end.argmax(-1) == terminated_BL.long(), mask_BL),
        }

    def _foretold(
        self,
        tokens_BLK: Tensor,
        action_BL: Tensor,
        reward_BL: Tensor,
        terminated_BL: Tensor,
        mask_BL: Tensor,
        frames: Tensor | None,
    ) -> tuple[Foretold, tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Returns what is foretold of a batch whose existing blocks come first, and labels and mask in that order."""
        order = _order(mask_BL)
        with autocast(self.config.precision, tokens_BLK.device):
            foretold = self.foretell(
                _ordered(tokens_BLK, order),
                _ordered(action_BL, order),
                None if frames is None else _ordered(frames, order),
            )
        tokens, reward, terminated, mask = (
            _ordered(part, order) for part in (tokens_BLK, reward_BL, terminated_BL, mask_BL)
        )
        return foretold, (tokens, reward, terminated, mask)

    def _inference_dtype(self, device: torch.device) -> torch.dtype:
        rounds = self.config.precision == "bf16" and multiplies_bfloat16(device)
        return torch.bfloat16 if rounds else torch.float32

    def _read_weights(self, device: torch.device) -> None:
        """Makes the network that is inferred with, or brings it up to date."""
        if self._snapshot is None or not self._snapshot.refresh():
            self._snapshot = Snapshot(self.network, self._inference_dtype(device))

    def _inference_network(self) -> N:
        assert self._snapshot is not None, "begin() was never called"
        return self._snapshot.module


def before_tokens(seen_BLtD: Tensor) -> Tensor:
    """Returns what is seen before each token but the first, `[B, M, D]`, of what is seen after each token and action.

    The last token of a frame is followed by an action, which is not foretold.
    """
    before = torch.cat([seen_BLtD[:, :, :-2], seen_BLtD[:, :, -1:]], dim=2)
    return before.flatten(1, 2)[:, :-1]


def _order(mask_BL: Tensor) -> Tensor:
    """Returns where each row's blocks are, those that exist first: what follows a block is never there without it."""
    return torch.argsort(mask_BL.to(torch.int8), dim=1, descending=True, stable=True)


def _ordered(part: Tensor, order_BL: Tensor) -> Tensor:
    index = order_BL.view(*order_BL.shape, *[1] * (part.dim() - 2)).expand_as(part)
    return part.gather(1, index)


def _labels(logits_BMV: Tensor, tokens_BLK: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the tokens that are foretold, and which of them there are."""
    num_foretold = logits_BMV.shape[1]
    known = mask_BL.unsqueeze(-1).expand_as(tokens_BLK).flatten(1)
    return tokens_BLK.flatten(1)[:, -num_foretold:], known[:, -num_foretold:]


def _token_losses(logits_BMV: Tensor, tokens_BLK: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    labels, known = _labels(logits_BMV, tokens_BLK, mask_BL)
    labels = labels.masked_fill(~known, _IGNORED)
    losses = functional.cross_entropy(
        logits_BMV.float().flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="none"
    )
    return losses.view(known.shape), known


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Returns the mean of those that count, of all or along an axis; 0 where there are none."""
    return (values * mask).sum(dim) / mask.sum(dim).clamp_min(1)
