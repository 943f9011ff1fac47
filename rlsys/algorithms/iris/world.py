"""IRIS's world: the world model over tokens as something to act in; its frames are what the tokenizer makes of them.

Micheli et al. 2023, section 2.2, https://arxiv.org/abs/2209.00588.

Shape legend: N copies, R rows of real history, K tokens of a frame.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from rlsys.algorithms.iris.components import sizes_of, tensors_of
from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.requirements import frame_shape
from rlsys.algorithms.iris.tokenizer.tokenizer import Before, Tokenizer, as_bytes, within_one
from rlsys.algorithms.iris.world_models.interface import Imagined, WorldModel
from rlsys.algorithms.iris.world_models.make import make_world_model
from rlsys.api import Traceable, WorldContext, WorldState, WorldStep
from rlsys.nets.flat import check_fits, share_arrays
from rlsys.nets.precision import autocast
from rlsys.types import EnvSpec

_MEMORY = "memory/"
_NEWEST = _TOKENS, _FRAME = "tokens", "frame"
_REMEDY = "it is of another environment, or of other settings. Play it in its own, with its settings."


class IrisWorld:
    """See `World`. Its state is `tokens`, `[N, K]` of the newest frame, and the world model's memory.

    Where tokens are deltas, it is also that `frame`, `[N, C, H, W]` float32 within [0, 1].
    """

    min_context = 1

    def __init__(
        self,
        tokenizer: Tokenizer,
        world_model: WorldModel[Any],
        precision: AbstractContextManager[object],
        env: EnvSpec,
        max_context: int,
    ) -> None:
        """Takes networks in evaluation mode, which others may train, and the precision of the tokenizer."""
        self.device = next(tokenizer.parameters()).device
        self.max_context = max_context
        self._tokenizer, self._world_model, self._precision = tokenizer, world_model, precision
        self._shape, self._as_shown = frame_shape(env), env.observation.shape

    @torch.no_grad()
    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        """See `World`."""
        with self._precision:
            frames = observation.reshape(*observation.shape[:2], *self._shape)
            tokens = self._tokenizer.encode(frames, action)
        memory = self._world_model.begin(len(tokens), self.device)
        self._world_model.observe_many(memory, tokens, action, frames)
        newest = {_FRAME: within_one(frames[:, -1])} if self._tokenizer.deltas else {}
        return {_TOKENS: tokens[:, -1].clone(), **newest, **_prefixed(memory.state())}

    @torch.no_grad()
    def step(
        self, state: WorldState, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[WorldState, WorldStep]:
        """See `World`."""
        return self._stepped(
            state, action, self._world_model.step(_memory(state), action, generator, state.get(_FRAME))
        )

    def traceable(self) -> Traceable:
        """See `OffersTraceable`."""
        traced = self._world_model.traced()

        @torch.no_grad()
        def step(state: WorldState, action: Tensor, generator: Any | None) -> tuple[WorldState, WorldStep]:
            return self._stepped(state, action, traced.step(_memory(state), action, generator, state.get(_FRAME)))

        @torch.no_grad()
        def renew(state: WorldState) -> WorldState:
            assert traced.renew is not None
            newest = {name: state[name] for name in _NEWEST if name in state}
            return {**newest, **_prefixed(traced.renew(_memory(state)))}

        return Traceable(step, renew if traced.renew else None, f"{_MEMORY}known", traced.most_known)

    @torch.no_grad()
    def observe(self, state: WorldState) -> Tensor:
        """See `World`."""
        if (frames := state.get(_FRAME)) is None:
            with self._precision:
                frames = self._tokenizer.decode_tokens(state[_TOKENS])
        return as_bytes(frames).reshape(len(frames), *self._as_shown)

    def _stepped(
        self, state: WorldState, action: Tensor, stepped: tuple[WorldState, Imagined]
    ) -> tuple[WorldState, WorldStep]:
        """Returns the state after a step of the world model, and what came of it; deltas are drawn into the frame."""
        after, imagined = stepped
        assert imagined.tokens is not None, "the next frame is drawn"
        newest = {_TOKENS: imagined.tokens}
        if self._tokenizer.deltas:
            with self._precision:
                newest[_FRAME] = self._tokenizer.decode_tokens(imagined.tokens, Before(state[_FRAME], action))
        return {**newest, **_prefixed(after)}, WorldStep(imagined.reward, imagined.terminated)


def make_world(context: WorldContext) -> IrisWorld:
    """Builds the world that a learner saved.

    Raises:
      CheckpointError: it was made for another environment, or with other settings.
    """
    config: IrisConfig = context.config
    device, prefix = torch.device(context.device), "tokenizer."
    tokenizer = Tokenizer(config.tokenizer, frame_shape(context.env), context.env.num_actions).to(device).eval()
    section = config.world_model.model_copy(update={"pretrained": None})
    world_model = make_world_model(section, sizes_of(config, context.env)).to(device).eval()
    saved = tensors_of(context.saved["tokenizer"])
    shown = {name.removeprefix(prefix): array for name, array in saved.items() if name.startswith(prefix)}
    for module, arrays, name in (
        (tokenizer, shown, "tokenizer"),
        (world_model, tensors_of(context.saved["world_model"]), "world model"),
    ):
        check_fits(module, arrays, name, _REMEDY)
        share_arrays(module, arrays)
    return IrisWorld(tokenizer, world_model, autocast(config.precision, device), context.env, config.context)


def _memory(state: WorldState) -> dict[str, Tensor]:
    return {name.removeprefix(_MEMORY): part for name, part in state.items() if name not in _NEWEST}


def _prefixed(memory: WorldState) -> dict[str, Tensor]:
    return {f"{_MEMORY}{name}": part for name, part in memory.items()}
