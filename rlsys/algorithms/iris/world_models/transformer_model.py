"""A transformer as a world model (Micheli et al. 2023, section 2.2, https://arxiv.org/abs/2209.00588).

Its memory keeps the tokens themselves, and what frames looked like, beside the keys and values of what it has seen.
What is observed is only written down; the next pass sees all of it at once. Where no more blocks fit, the oldest are
forgotten and the rest is seen again: keys and values depend on where a token stands and on all before it, so that
nothing else is the same as if the model had been given the last blocks alone.

Shape legend: B copies, L blocks, K tokens of a frame, T tokens of a full memory, t new ones, E width.
"""

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.iris.world_models.attention import Kept, causal_mask, keep, parallel_mask
from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.drawing import draw
from rlsys.algorithms.iris.world_models.interface import Foretold, Imagined, Sizes, Traced, WorldModel, before_tokens
from rlsys.algorithms.iris.world_models.memory import Memory
from rlsys.algorithms.iris.world_models.pretrained import load_gpt2
from rlsys.algorithms.iris.world_models.transformer import TransformerNetwork
from rlsys.algorithms.iris.world_models.transformer_steps import IDS, LOOKED, TransformerSteps


class Transformer(WorldModel[TransformerNetwork]):
    """See `WorldModel`."""

    def __init__(self, config: WorldModelConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        self.network = TransformerNetwork(config, sizes, self.rewards.size)
        if config.pretrained is not None:
            load_gpt2(self.network.trunk, config.pretrained.reveal("pretrained"))
        self.network.trunk.freeze(config.frozen)
        self._capacity = config.max_blocks * sizes.block
        self._in_parallel = config.frames == "parallel"

    def foretell(self, tokens_BLK: Tensor, action_BL: Tensor, frames: Tensor | None = None) -> Foretold:
        """See `WorldModel`."""
        network, sizes = self.network, self.sizes
        batch, num_blocks = action_BL.shape
        assert num_blocks <= self.config.max_blocks, f"{num_blocks} blocks of {self.config.max_blocks}"
        ids = torch.cat([tokens_BLK, action_BL.unsqueeze(-1) + sizes.vocabulary], dim=-1)
        x = network.embed(ids.flatten(1), start=0)
        if frames is not None:
            looked = network.look(frames).unsqueeze(2)
            x = x + functional.pad(looked, (0, 0, sizes.tokens, 0)).flatten(1, 2)
        if self._in_parallel:
            asked = network.ask(1, num_blocks - 1).expand(batch, -1, -1)
            mask = parallel_mask(num_blocks, sizes.block, self.config.attention, x.device)
            seen = network(torch.cat([x, asked], dim=1), mask)
            seen, answered = seen[:, : x.shape[1]], seen[:, x.shape[1] :]
            seen_BLtE = seen.view(batch, num_blocks, sizes.block, -1)
        else:
            seen_BLtE = network(x, None).view(batch, num_blocks, sizes.block, -1)
            answered = before_tokens(seen_BLtE)
            if frames is not None:
                answered = answered[:, sizes.tokens - 1 :]
        after_action = seen_BLtE[:, :, -1]
        return Foretold(network.token(answered), network.reward(after_action), network.end(after_action))

    def begin(self, batch: int, device: torch.device) -> Memory:
        """See `WorldModel`."""
        self._read_weights(device)
        config = self.config
        memory = Memory({IDS: torch.zeros(batch, self._capacity, dtype=torch.int64, device=device)})
        if self.sizes.frame is not None:
            memory.tensors[LOOKED] = torch.zeros(batch, config.max_blocks, config.num_features, device=device)
        head_size = config.num_features // config.heads
        shape = (batch, config.heads, self._capacity, head_size)
        keep(memory, config.num_layers, shape, self._inference_dtype(device), device)
        return memory

    @torch.no_grad()
    def observe(
        self, memory: Memory, tokens_BK: Tensor, action_B: Tensor | None = None, frame: Tensor | None = None
    ) -> None:
        """See `WorldModel`."""
        assert memory.known % self.sizes.block == 0, "the newest frame has no action yet"
        self._append(memory, tokens_BK)
        if action_B is not None:
            self._act(memory, action_B, frame)

    @torch.no_grad()
    def imagine(
        self,
        memory: Memory,
        action_B: Tensor,
        generator: torch.Generator | None = None,
        *,
        frame: Tensor | None = None,
        next_frame: bool = True,
    ) -> Imagined:
        """See `WorldModel`."""
        assert memory.known % self.sizes.block == self.sizes.tokens, "there is no frame to act in"
        self._make_room(memory, 1 + next_frame * self.sizes.tokens)
        self._act(memory, action_B, frame)
        network = self._inference_network()
        asks = next_frame and self._in_parallel
        seen_BtE = self._pass(memory, asks=asks)
        after_action = seen_BtE[:, -1 - self.sizes.tokens] if asks else seen_BtE[:, -1]
        reward = self.rewards.draw(network.reward(after_action).float(), generator)
        terminated = draw(network.end(after_action), generator).bool()
        if not next_frame:
            return Imagined(reward, terminated, None)
        if asks:
            answers = network.token(seen_BtE[:, -self.sizes.tokens :])
            self._append(memory, draw(answers, generator, self.config.temperature))
        else:
            self._draw_tokens(memory, after_action, generator)
        return Imagined(reward, terminated, self.newest(memory))

    def traced(self) -> Traced:
        """See `WorldModel`."""
        steps = TransformerSteps(self.config, self.sizes, self._inference_network(), self.rewards)
        return Traced(steps.step, steps.renew, steps.most_known)

    def newest(self, memory: Memory) -> Tensor:
        """Returns the tokens of the newest frame, `[B, K]`, in memory of their own."""
        frame = memory.known - memory.known % self.sizes.block
        return memory.tensors[IDS][:, frame : frame + self.sizes.tokens].clone()

    def _act(self, memory: Memory, action_B: Tensor, frame: Tensor | None) -> None:
        """Remembers what was done, and what the frame looks like in which it was."""
        self._append(memory, action_B.unsqueeze(1) + self.sizes.vocabulary)
        if self.sizes.frame is not None:
            assert frame is not None, "it sees frames"
            block = memory.known // self.sizes.block - 1
            memory.tensors[LOOKED][:, block] = self._inference_network().look(frame)

    def _draw_tokens(self, memory: Memory, seen_BE: Tensor, generator: torch.Generator | None) -> None:
        """Draws a frame; its last token is seen by the next pass, together with the action."""
        network = self._inference_network()
        for index in range(self.sizes.tokens):
            if index:
                seen_BE = self._pass(memory)[:, -1]
            token = draw(network.token(seen_BE), generator, self.config.temperature)
            self._append(memory, token.unsqueeze(1))

    def _pass(self, memory: Memory, *, asks: bool = False) -> Tensor:
        """Sees what is known and was not seen before, and questions about the next frame, if it asks; `[B, t, E]`."""
        network, start, end = self._inference_network(), memory.fed, memory.known
        x = network.embed(memory.tensors[IDS][:, start:end], start)
        if self.sizes.frame is not None:
            block = self.sizes.block
            x[:, self.sizes.tokens - start % block :: block] += memory.tensors[LOOKED][:, start // block : end // block]
        if asks:
            x = torch.cat([x, network.ask(end // self.sizes.block).expand(len(x), -1, -1)], dim=1)
        # Keys and values of questions lie where those of the answers will.
        seen: Tensor = network.trunk(x, Kept(memory, start, self._mask(start, end, x)).attend)
        memory.fed = end
        return seen

    def _mask(self, start: int, end: int, x: Tensor) -> Tensor | None:
        """Returns what new tokens see; None: all."""
        last = start + x.shape[1]
        if last == start + 1:
            return None
        position, block = torch.arange(last, device=x.device), self.sizes.block
        asked = causal_mask(position[end:], position, block, "block_causal")
        return torch.cat([causal_mask(position[start:end], position, block, self.config.attention), asked])

    def _append(self, memory: Memory, ids_Bt: Tensor) -> None:
        self._make_room(memory, ids_Bt.shape[1])
        end = memory.known + ids_Bt.shape[1]
        memory.tensors[IDS][:, memory.known : end] = ids_Bt
        memory.known = end

    def _make_room(self, memory: Memory, num_tokens: int) -> None:
        """Forgets the oldest blocks where so many tokens do not fit; the rest is then seen again."""
        ids, dropped = memory.tensors[IDS], self.config.dropped_blocks * self.sizes.block
        while memory.known + num_tokens > self._capacity:
            left = memory.known - dropped
            ids[:, :left] = ids[:, dropped : memory.known].clone()
            if self.sizes.frame is not None:
                looked, blocks = memory.tensors[LOOKED], self.config.dropped_blocks
                looked[:, :-blocks] = looked[:, blocks:].clone()
            memory.known, memory.fed = left, 0
