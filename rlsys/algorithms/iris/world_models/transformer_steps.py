"""A transformer's steps as functions of tensors alone, which can be written down as graphs.

`Transformer.imagine` knows by numbers of Python how far a memory is; here that is a tensor. So keys and values have
their whole length, what is not there yet is hidden by a mask, and what is done only sometimes, forgetting the oldest
blocks, is a function of its own.

Shape legend: B copies, K tokens of a frame, T tokens of a full memory, t new ones, E width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.iris.world_models.attention import attend, causal_mask
from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.drawing import draw
from rlsys.algorithms.iris.world_models.interface import Imagined, Sizes
from rlsys.algorithms.iris.world_models.memory import State
from rlsys.algorithms.iris.world_models.rewards import RewardCode
from rlsys.algorithms.iris.world_models.transformer import TransformerNetwork

IDS, LOOKED = "ids", "looked"


class TransformerSteps:
    """Steps of copies that are all as far as each other. States are those of `Transformer`'s memory.

    Between two steps the network has seen all but the last tokens: the newest frame's last one, or all of it where
    frames are foretold in parallel.

    Attributes:
      most_known: tokens that a memory knows at most where there is room for another step.
    """

    def __init__(
        self, config: WorldModelConfig, sizes: Sizes, network: TransformerNetwork, rewards: RewardCode
    ) -> None:
        self._config, self._sizes, self._network, self._rewards = config, sizes, network, rewards
        self._in_parallel = config.frames == "parallel"
        self._unseen = sizes.tokens if self._in_parallel else 1
        self._capacity = config.max_blocks * sizes.block
        self.most_known = self._capacity - sizes.block

    def step(
        self,
        state: State,
        action_B: Tensor,
        generator: torch.Generator | None = None,
        frame: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], Imagined]:
        """Draws what comes of one step, as `Transformer.imagine` does."""
        network, num_tokens, known = self._network, self._sizes.tokens, state["known"][:1]
        start = known - self._unseen
        newest_Bt = state[IDS].index_select(1, start + torch.arange(self._unseen))
        ids_Bt = torch.cat([newest_Bt, action_B.unsqueeze(1) + self._sizes.vocabulary], dim=1)
        looked_BE = None if frame is None else network.look(frame)
        seen_BtE, kept = self._see(state, ids_Bt, start, looked_BE, asks=self._in_parallel)
        after_action = seen_BtE[:, self._unseen]
        reward = self._rewards.draw(network.reward(after_action).float(), generator)
        terminated = draw(network.end(after_action), generator).bool()
        if self._in_parallel:
            tokens_BK = draw(network.token(seen_BtE[:, -num_tokens:]), generator, self._config.temperature)
        else:
            tokens_BK, kept = self._draw_tokens(kept, after_action, known + 1, generator)
        places = known + torch.arange(self._sizes.block)
        written = torch.cat([ids_Bt[:, -1:], tokens_BK], dim=1)
        ids_BT = state[IDS].index_copy(1, places, written)
        if looked_BE is not None:
            kept[LOOKED] = state[LOOKED].index_copy(1, known // self._sizes.block, looked_BE.unsqueeze(1))
        return self._state(kept, ids_BT, state["known"] + self._sizes.block), Imagined(reward, terminated, tokens_BK)

    def renew(self, state: State) -> dict[str, Tensor]:
        """Makes room for a step, and sees what is left anew, whether or not it was seen before."""
        position = torch.arange(self._capacity)
        is_full = state["known"] > self.most_known
        dropped = is_full * self._config.dropped_blocks * self._sizes.block
        ids_BT = state[IDS].index_select(1, (position + dropped[:1]).clamp_max(self._capacity - 1))
        known = state["known"] - dropped
        ids_BT = torch.where(position < known.unsqueeze(1), ids_BT, 0)
        mask = causal_mask(position, position, self._sizes.block, self._config.attention)
        is_seen = (position < known[0] - self._unseen).unsqueeze(-1)
        kept: dict[str, Tensor] = {}

        def attend_to(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for name, part in (("keys", k), ("values", v)):
                kept[f"{name}/{layer}"] = torch.where(is_seen, part, 0.0)
            return attend(q, k, v, mask)

        x = self._network.embed(ids_BT, 0)
        if LOOKED in state:
            blocks = torch.arange(self._config.max_blocks) + is_full[:1] * self._config.dropped_blocks
            kept[LOOKED] = state[LOOKED].index_select(1, blocks.clamp_max(self._config.max_blocks - 1))
            x = x + functional.pad(kept[LOOKED].unsqueeze(2), (0, 0, self._sizes.tokens, 0)).flatten(1, 2)
        self._network.trunk(x, attend_to)
        return self._state(kept, ids_BT, known)

    def _draw_tokens(
        self, kept: dict[str, Tensor], seen_BE: Tensor, place: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns a frame, `[B, K]`, drawn token by token, of which the last is not seen yet."""
        tokens: list[Tensor] = []
        for index in range(self._sizes.tokens):
            if index:
                seen_BtE, kept = self._see(kept, tokens[-1].unsqueeze(1), place + index - 1, asks=False)
                seen_BE = seen_BtE[:, -1]
            tokens.append(draw(self._network.token(seen_BE), generator, self._config.temperature))
        return torch.stack(tokens, dim=1), kept

    def _see(
        self,
        state: Mapping[str, Tensor],
        ids_Bt: Tensor,
        start: Tensor,
        looked_BE: Tensor | None = None,
        *,
        asks: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns what heads see, `[B, t, E]`, of tokens from a place on and of questions after them; keys, values.

        The last of the tokens is embedded together with what was looked at, if something was.
        """
        network, block = self._network, self._sizes.block
        num_questions = self._sizes.tokens if asks else 0
        places = start + torch.arange(ids_Bt.shape[1] + num_questions)
        position_tE, all_T = network.position.weight[places], torch.arange(self._capacity)
        x = network.embedding(ids_Bt)
        if looked_BE is not None:
            x = torch.cat([x[:, :-1], (x[:, -1] + looked_BE).unsqueeze(1)], dim=1)
        mask = causal_mask(places[: ids_Bt.shape[1]], all_T, block, self._config.attention)
        if asks:
            assert network.question is not None
            x = torch.cat([x, network.question.weight.expand(len(x), -1, -1)], dim=1)
            mask = torch.cat([mask, causal_mask(places[-num_questions:], all_T, block, "block_causal")])
        mask = mask & (all_T <= places[-1])
        kept = {name: part for name, part in state.items() if name.startswith(("keys/", "values/"))}

        def attend_to(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            for name, part in (("keys", k), ("values", v)):
                kept[f"{name}/{layer}"] = kept[f"{name}/{layer}"].index_copy(2, places, part)
            return attend(q, kept[f"keys/{layer}"], kept[f"values/{layer}"], mask)

        return network.trunk(x + position_tE, attend_to), kept

    def _state(self, kept: Mapping[str, Tensor], ids_BT: Tensor, known: Tensor) -> dict[str, Tensor]:
        return {IDS: ids_BT, **kept, "known": known, "fed": known - self._unseen}
