"""Neural circuit policies as world models: a frame at once, or a token after the other.

Unlike upstream's, both begin from what was seen: there is no step with an action that nobody took, and none with a
token that nobody saw.

Shape legend: B copies, L blocks, R frames of real history, K tokens of a frame, n tokens, t moments, D features of a
moment, U units.
"""

import abc

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.drawing import draw
from rlsys.algorithms.iris.world_models.interface import Foretold, Imagined, Sizes, Traced, WorldModel, before_tokens
from rlsys.algorithms.iris.world_models.layers import Head
from rlsys.algorithms.iris.world_models.memory import COUNTS, Memory, State
from rlsys.algorithms.iris.world_models.ncp import CfC, Joined

_TOKENS = "tokens"


class NCPBlock(nn.Module):
    """A circuit whose motor neurons say as much as it hears."""

    def __init__(self, config: WorldModelConfig, num_units: int, num_features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_features) if config.ncp_layer_norm else nn.Identity()
        has_gate = config.ncp_cell == "cfc"
        self.cell = CfC(num_features, num_units, num_features, seed=config.ncp_seed, has_gate=has_gate)
        self._dropout = config.residual_dropout

    def forward(self, x: Tensor, state: Tensor, joined: list[Joined] | None = None) -> tuple[Tensor, Tensor]:
        """Returns `[B, t, D]`, and the state after it, `[B, U]`."""
        x, state = self.cell(self.norm(x), state, joined)
        return functional.dropout(x, self._dropout, self.training), state


class NCPNetwork(nn.Module):
    """Embeddings, blocks and heads. Tokens and actions share one table: an action's id is V more than its number."""

    def __init__(
        self, config: WorldModelConfig, sizes: Sizes, num_features: int, num_answers: int, num_reward_classes: int
    ) -> None:
        """Takes sizes.

        Args:
          config: of the blocks.
          sizes: of tokens and actions.
          num_features: D.
          num_answers: logits for tokens, of each moment.
          num_reward_classes: C.
        """
        super().__init__()
        width = config.num_features
        self.embedding = nn.Embedding(sizes.vocabulary + sizes.actions, width)
        has_positions = config.kind == "ncp_multi_step" and config.ncp_positions
        self.position = nn.Embedding(sizes.block, width) if has_positions else None
        num_units = config.num_units(sizes.tokens)
        self.blocks = nn.ModuleList(NCPBlock(config, num_units, num_features) for _ in range(config.num_layers))
        self.token = Head(num_features, num_features, num_answers)
        self.reward = Head(num_features, width, num_reward_classes)
        self.end = Head(num_features, width, 2)
        self._dropout = config.embed_dropout

    def forward(
        self, x: Tensor, states: list[Tensor], joined: list[list[Joined]] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns what heads see, `[B, t, D]`, and the states of the blocks after it.

        Args:
          x: `[B, t, D]`, embedded.
          states: `[B, U]` of each block.
          joined: the products of each block, if they are at hand.
        """
        x = functional.dropout(x, self._dropout, self.training)
        after = []
        for index, (block, state) in enumerate(zip(self.blocks, states, strict=True)):
            x, state_after = block(x, state, joined and joined[index])
            after.append(state_after)
        return x, after

    def joined(self) -> list[list[Joined]]:
        """Returns the products of all blocks as they are now."""
        return [block.cell.joined() for block in self.blocks if isinstance(block, NCPBlock)]


class NCPModel(WorldModel[NCPNetwork]):
    """What both have in common; a memory knows one frame or, where it has been acted in, none."""

    def __init__(self, config: WorldModelConfig, sizes: Sizes, num_features: int, num_answers: int) -> None:
        super().__init__(config, sizes)
        self._num_units = config.num_units(sizes.tokens)
        self.network = NCPNetwork(config, sizes, num_features, num_answers, self.rewards.size)
        self._joined: list[list[Joined]] = []

    @abc.abstractmethod
    def _act(self, memory: Memory, action_B: Tensor) -> Tensor:
        """Sees what was done, and returns what heads see then, `[B, D]`."""

    @abc.abstractmethod
    def _draw_tokens(self, memory: Memory, seen_BD: Tensor, generator: torch.Generator | None) -> Tensor:
        """Returns tokens of the next frame, `[B, K]`, which it has seen as far as that is before the action."""

    @torch.no_grad()
    def begin(self, batch: int, device: torch.device) -> Memory:
        """See `WorldModel`."""
        self._read_weights(device)
        self._join(self._inference_dtype(device))
        states = [torch.zeros(batch, self._num_units, device=device) for _ in range(self.config.num_layers)]
        tokens = torch.zeros(batch, self.sizes.tokens, dtype=torch.int64, device=device)
        return Memory({_TOKENS: tokens, **{f"state/{index}": state for index, state in enumerate(states)}})

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
        assert memory.known, "there is no frame to act in"
        network, seen_BD = self._inference_network(), self._act(memory, action_B)
        reward = self.rewards.draw(network.reward(seen_BD).float(), generator)
        terminated = draw(network.end(seen_BD), generator).bool()
        memory.known = int(next_frame)
        if not next_frame:
            return Imagined(reward, terminated, None)
        tokens_BK = self._draw_tokens(memory, seen_BD, generator)
        memory.tensors[_TOKENS].copy_(tokens_BK)
        return Imagined(reward, terminated, tokens_BK)

    def traced(self) -> Traced:
        """See `WorldModel`."""

        def step(
            state: State, action_B: Tensor, generator: torch.Generator | None, frame: Tensor | None = None
        ) -> tuple[dict[str, Tensor], Imagined]:
            counts = {name: state[name] for name in COUNTS}
            memory = Memory({name: part.clone() for name, part in state.items() if name not in counts}, known=1)
            imagined = self.imagine(memory, action_B, generator)
            return {**memory.tensors, **counts}, imagined

        return Traced(step)

    def _see(self, memory: Memory, x_BtD: Tensor) -> Tensor:
        """Returns what heads see of t moments, and remembers the state after them."""
        states = [memory.tensors[f"state/{index}"] for index in range(self.config.num_layers)]
        seen: Tensor
        seen, after = self._inference_network()(x_BtD, states, self._joined)
        for state, state_after in zip(states, after, strict=True):
            state.copy_(state_after)
        return seen

    def _unroll(self, x_BtD: Tensor) -> Tensor:
        """Returns what heads see of whole sequences, with gradients."""
        nothing = x_BtD.new_zeros(len(x_BtD), self._num_units, dtype=torch.float32)
        seen: Tensor = self.network(x_BtD, [nothing] * self.config.num_layers)[0]
        return seen

    def _join(self, dtype: torch.dtype) -> None:
        """Copies products into the memory where they were before, if that still fits."""
        new = [[Joined(*(part.to(dtype) for part in layer)) for layer in block] for block in self.network.joined()]
        flat = [part for block in new for layer in block for part in layer]
        old = [part for block in self._joined for layer in block for part in layer]
        if [(part.dtype, part.device) for part in old] != [(part.dtype, part.device) for part in flat]:
            self._joined = new
            return
        torch._foreach_copy_(old, flat)

    def _ids(self, tokens: Tensor, action: Tensor) -> Tensor:
        """Returns `[..., K + 1]` of tokens `[..., K]` and actions `[...]`."""
        return torch.cat([tokens, action.unsqueeze(-1) + self.sizes.vocabulary], dim=-1)


class SingleStepNCP(NCPModel):
    """Sees a frame and an action at once, and foretells all tokens of the next, each by itself."""

    def __init__(self, config: WorldModelConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes, sizes.block * config.num_features, sizes.tokens * sizes.vocabulary)

    def foretell(self, tokens_BLK: Tensor, action_BL: Tensor, frames: Tensor | None = None) -> Foretold:
        """See `WorldModel`."""
        network = self.network
        seen = self._unroll(network.embedding(self._ids(tokens_BLK, action_BL)).flatten(2))
        answers = network.token(seen[:, :-1]).view(len(seen), -1, self.sizes.vocabulary)
        return Foretold(answers, network.reward(seen), network.end(seen))

    @torch.no_grad()
    def observe(
        self, memory: Memory, tokens_BK: Tensor, action_B: Tensor | None = None, frame: Tensor | None = None
    ) -> None:
        """See `WorldModel`."""
        memory.tensors[_TOKENS].copy_(tokens_BK)
        memory.known = 1
        if action_B is not None:
            self._act(memory, action_B)

    @torch.no_grad()
    def observe_many(self, memory: Memory, tokens_BRK: Tensor, action_BR: Tensor, frames: Tensor | None = None) -> None:
        """See `WorldModel`."""
        if action_BR.shape[1]:
            ids = self._ids(tokens_BRK[:, :-1], action_BR)
            self._see(memory, self._inference_network().embedding(ids).flatten(2))
        self.observe(memory, tokens_BRK[:, -1])

    def _act(self, memory: Memory, action_B: Tensor) -> Tensor:
        memory.known = 0
        ids = self._ids(memory.tensors[_TOKENS], action_B)
        return self._see(memory, self._inference_network().embedding(ids).flatten(1).unsqueeze(1))[:, 0]

    def _draw_tokens(self, memory: Memory, seen_BD: Tensor, generator: torch.Generator | None) -> Tensor:
        answers = self._inference_network().token(seen_BD).view(len(seen_BD), self.sizes.tokens, -1)
        return draw(answers, generator, self.config.temperature)


class MultiStepNCP(NCPModel):
    """Sees a token or an action at a time, and foretells the next."""

    def __init__(self, config: WorldModelConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes, config.num_features, sizes.vocabulary)

    def foretell(self, tokens_BLK: Tensor, action_BL: Tensor, frames: Tensor | None = None) -> Foretold:
        """See `WorldModel`."""
        network = self.network
        seen = self._unroll(self._embed(self._ids(tokens_BLK, action_BL).flatten(1)))
        seen_BLtD = seen.view(*action_BL.shape, self.sizes.block, -1)
        after_action = seen_BLtD[:, :, -1]
        return Foretold(
            network.token(before_tokens(seen_BLtD)), network.reward(after_action), network.end(after_action)
        )

    @torch.no_grad()
    def observe(
        self, memory: Memory, tokens_BK: Tensor, action_B: Tensor | None = None, frame: Tensor | None = None
    ) -> None:
        """See `WorldModel`."""
        self.observe_many(memory, tokens_BK.unsqueeze(1), tokens_BK.new_zeros(len(tokens_BK), 0))
        if action_B is not None:
            self._act(memory, action_B)

    @torch.no_grad()
    def observe_many(self, memory: Memory, tokens_BRK: Tensor, action_BR: Tensor, frames: Tensor | None = None) -> None:
        """See `WorldModel`."""
        ids = self._ids(tokens_BRK[:, :-1], action_BR).flatten(1)
        self._see(memory, self._embed(torch.cat([ids, tokens_BRK[:, -1]], dim=1)))
        memory.tensors[_TOKENS].copy_(tokens_BRK[:, -1])
        memory.known = 1

    def _act(self, memory: Memory, action_B: Tensor) -> Tensor:
        memory.known = 0
        ids = action_B.unsqueeze(1) + self.sizes.vocabulary
        return self._see(memory, self._embed(ids, self.sizes.tokens))[:, 0]

    def _draw_tokens(self, memory: Memory, seen_BD: Tensor, generator: torch.Generator | None) -> Tensor:
        tokens = []
        for index in range(self.sizes.tokens):
            answers = self._inference_network().token(seen_BD)
            tokens.append(draw(answers, generator, self.config.temperature))
            seen_BD = self._see(memory, self._embed(tokens[-1].unsqueeze(1), index))[:, 0]
        return torch.stack(tokens, dim=1)

    def _embed(self, ids_Bn: Tensor, start: int = 0) -> Tensor:
        """Returns `[B, n, D]`; the first id is the `start`-th of a block."""
        embedded: Tensor = self.network.embedding(ids_Bn)
        if self.network.position is None:
            return embedded
        places = torch.arange(start, start + ids_Bn.shape[1], device=ids_Bn.device) % self.sizes.block
        return embedded + self.network.position.weight[places]
