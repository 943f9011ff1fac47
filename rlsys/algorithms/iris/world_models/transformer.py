"""The transformer itself: GPT-2's blocks, with its names, between embeddings and heads.

Radford et al. 2019; Micheli et al. 2023, appendix A, https://arxiv.org/abs/2209.00588.

Shape legend: B batch, t tokens, E width, H heads, D numbers of a head, K tokens of a frame, V vocabulary.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.tokenizer.tokenizer import prepare
from rlsys.algorithms.iris.world_models.attention import attend
from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.interface import Sizes
from rlsys.algorithms.iris.world_models.layers import Head, initialize
from rlsys.nets.stems import PooledConvolutions

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Layer, queries, keys and values `[B, H, t, D]` -> what is seen, likewise."""


class Attention(nn.Module):
    """Heads side by side; what they attend to is the caller's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self._heads = heads

    def forward(self, x: Tensor, layer: int, attend_to: Attend) -> Tensor:
        """Returns `[B, t, E]`."""
        batch, length, width = x.shape
        parts = self.c_attn(x).view(batch, length, 3, self._heads, width // self._heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        seen = attend_to(layer, q, k, v).transpose(1, 2).reshape(batch, length, width)
        out: Tensor = self.c_proj(seen.to(self.c_proj.weight.dtype))
        return out


class Perceptron(nn.Module):
    """Two layers, the inner one four times as wide."""

    def __init__(self, width: int, gelu: str) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)
        self._approximate = "tanh" if gelu == "tanh" else "none"

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, t, E]`."""
        out: Tensor = self.c_proj(functional.gelu(self.c_fc(x), approximate=self._approximate))
        return out


class Block(nn.Module):
    """Attention and a perceptron, each of what is normalised, and each added."""

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width = config.num_features
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, config.heads)
        self.mlp = Perceptron(width, config.gelu)
        self._dropout = config.residual_dropout

    def forward(self, x: Tensor, layer: int, attend_to: Attend) -> Tensor:
        """Returns `[B, t, E]`; sums stay in float32 where the products are rounded."""
        dtype = self.attn.c_attn.weight.dtype
        x = x + self._dropped(self.attn(self.ln_1(x).to(dtype), layer, attend_to))
        return x + self._dropped(self.mlp(self.ln_2(x).to(dtype)))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self._dropout) if self.training else x


class Trunk(nn.Module):
    """Blocks, one after the other, and what may stand before and after them.

    Attributes:
      heads: of each block.
    """

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        width = config.num_features
        self.pre = nn.Linear(width, width) if config.pre_layer else None
        self.h = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.ln_f = nn.LayerNorm(width)
        self.post = nn.Linear(width, width) if config.post_layer else None
        self.heads = config.heads
        self._dropout = config.embed_dropout
        initialize(self)

    def forward(self, x: Tensor, attend_to: Attend) -> Tensor:
        """Returns what heads see, `[B, t, E]`, of what was embedded, likewise."""
        if self.training:
            x = functional.dropout(x, self._dropout)
        if self.pre is not None:
            x = torch.relu(self.pre(x.to(self.pre.weight.dtype))).to(x.dtype)
        for layer, block in enumerate(self.h):
            x = block(x, layer, attend_to)
        x = self.ln_f(x)
        return x if self.post is None else torch.relu(self.post(x.to(self.post.weight.dtype)))

    def freeze(self, frozen: bool | int) -> None:
        """Stops training of attention and perceptrons: of all blocks, or of all but so many last ones.

        Layer norms stay trained, as all that is around the blocks (Lu et al. 2021, https://arxiv.org/abs/2103.05247).
        """
        num_trained = len(self.h) if frozen is False else 0 if frozen is True else frozen
        for block in list(self.h)[: len(self.h) - num_trained]:
            assert isinstance(block, Block)
            block.attn.requires_grad_(requires_grad=False)
            block.mlp.requires_grad_(requires_grad=False)


class FrameEmbedding(nn.Module):
    """A frame as a vector (Micheli et al. 2024, section 3.2, https://arxiv.org/abs/2406.19320: I-tokens)."""

    def __init__(self, channels: Sequence[int], shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.see = PooledConvolutions(channels, shape)
        self.out = nn.Linear(self.see.num_features, width)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Returns `[N, E]` of frames within [-1, 1]."""
        embedded: Tensor = self.out(self.see(frames_NCHW).to(self.out.weight.dtype))
        return embedded


class TransformerNetwork(nn.Module):
    """Embeddings, trunk and heads.

    Tokens and actions share one table: an action's id is V more than its number. Where frames are seen, an action is
    embedded together with the frame that it was done in.
    """

    def __init__(self, config: WorldModelConfig, sizes: Sizes, num_reward_classes: int) -> None:
        super().__init__()
        width = config.num_features
        self.embedding = nn.Embedding(sizes.vocabulary + sizes.actions, width)
        self.position = nn.Embedding(config.max_blocks * sizes.block, width)
        self.question = nn.Embedding(sizes.tokens, width) if config.frames == "parallel" else None
        self.token, self.reward, self.end = (
            Head(width, width, num_out) for num_out in (sizes.vocabulary, num_reward_classes, 2)
        )
        initialize(self)
        self.frame = None if sizes.frame is None else FrameEmbedding(config.frame_channels, sizes.frame, width)
        self.trunk = Trunk(config)
        self._attention_dropout = config.attention_dropout

    def embed(self, ids_BT: Tensor, start: int) -> Tensor:
        """Returns `[B, t, E]` of tokens and actions, the first of which is the `start`-th of the sequence."""
        embedded: Tensor = self.embedding(ids_BT)
        return embedded + self.position.weight[start : start + ids_BT.shape[1]]

    def look(self, frames: Tensor) -> Tensor:
        """Returns `[..., E]`, which is added to actions, of the frames `[..., C, H, W]` in which they were done."""
        assert self.frame is not None, "it sees no frames"
        looked: Tensor = self.frame(prepare(frames.flatten(end_dim=-4)))
        return looked.float().view(*frames.shape[:-3], -1)

    def ask(self, start: int, num_blocks: int = 1) -> Tensor:
        """Returns `[n K, E]`: questions about the tokens of n blocks, the first of which is the `start`-th of all."""
        assert self.question is not None
        num_tokens, width = self.question.weight.shape
        places = self.position.weight.view(-1, num_tokens + 1, width)[start : start + num_blocks, :-1]
        return (places + self.question.weight).flatten(0, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Returns `[B, t, E]` of whole sequences that were embedded.

        Args:
          x: `[B, t, E]`.
          mask: `[t, t]` bool; None: a token sees those before it.
        """
        dropout = self._attention_dropout if self.training else 0.0

        def attend_to(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if mask is None:
                return functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
            return attend(q, k, v, mask, dropout)

        out: Tensor = self.trunk(x, attend_to)
        return out
