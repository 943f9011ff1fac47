"""Running a model for a tree: where embeddings live, and how numbers travel between the tree and the model's device.

Shape legend: B roots, N nodes per root, A actions, R nodes of all roots (N * B), F numbers in an embedding.
"""

import operator
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rlsys.planning.tree import Tree
from rlsys.types import Array


class RootOutput(NamedTuple):
    """What the model makes of the observations that a search starts from.

    Attributes:
      value: `[B]`.
      prior_logits: `[B, A]`.
      embedding: `[B, ...]`, what `RecurrentFn` goes on from; the search never looks into it.
    """

    value: Tensor
    prior_logits: Tensor
    embedding: Tensor


class RecurrentOutput(NamedTuple):
    """What the model makes of one step.

    Attributes:
      value: `[B]`, of where the step leads.
      reward: `[B]`, for the step.
      prior_logits: `[B, A]`, of where the step leads.
      embedding: `[B, ...]`, likewise; same shape and type as the root's.
    """

    value: Tensor
    reward: Tensor
    prior_logits: Tensor
    embedding: Tensor


RecurrentFn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
"""One step of the model: B embeddings `[B, ...]` and actions `[B]` (int64) -> a RecurrentOutput, or its four fields in
that order. Its arguments are overwritten after the call; what it returns is copied before the next one."""


LeafOutput = tuple[Array, Array, Array, Array]
"""What a RecurrentFn said, for the tree: value `[B]`, reward `[B]`, prior_logits `[B, A]` and embedding `[B, F]`."""


class Model(Protocol):
    """Steps the model from where a tree wants to go on.

    Attributes:
      embedding: `[R, ...]` of all nodes.
    """

    embedding: Tensor

    def reset(self, embedding: Tensor) -> Array:
        """Starts a new search from the roots' embeddings; returns `[B, F]` for the tree to keep."""

    def step(self, recurrent_fn: RecurrentFn, leaf: int) -> LeafOutput:
        """Returns what belongs to node `leaf`, in float32; valid until the next step."""


class HostModel:
    """For embeddings of float32 on the CPU: the tree keeps them, and tree and tensors share memory.

    Taking an array from a tensor takes as long as copying a batch of embeddings, so a model that returns the same
    tensors each time is asked for their arrays only once.
    """

    def __init__(self, tree: Tree, embedding: Tensor) -> None:
        self.embedding = torch.from_numpy(tree.embedding).view(len(tree.nodes), *embedding.shape[1:])
        self._parent = torch.from_numpy(tree.parent_embedding).view(embedding.shape)
        self._action_B = torch.from_numpy(tree.action)
        self._known: tuple[Tensor | None, ...] = (None,) * 4
        self._arrays: LeafOutput

    def reset(self, embedding: Tensor) -> Array:
        """See `Model`."""
        return to_array(embedding).reshape(len(embedding), -1)

    def step(self, recurrent_fn: RecurrentFn, leaf: int) -> LeafOutput:
        """See `Model`."""
        output = recurrent_fn(self._parent, self._action_B)
        if not all(map(operator.is_, output, self._known)):
            value_B, reward_B, prior_logits_BA, embedding = map(to_array, output)
            self._arrays = value_B, reward_B, prior_logits_BA, embedding.reshape(len(embedding), -1)
            is_shared = all(tensor.dtype is torch.float32 and tensor.is_contiguous() for tensor in output)
            self._known = output if is_shared else (None,) * 4
        return self._arrays


class DeviceModel:
    """For all other embeddings: they stay on their device, and each step makes one small copy there and one back."""

    def __init__(self, tree: Tree, embedding: Tensor) -> None:
        num_roots, num_actions = tree.roots.size, tree.edges.shape[1]
        device, is_pinned = embedding.device, embedding.is_cuda
        self._tree = tree
        self.embedding = torch.empty((len(tree.nodes), *embedding.shape[1:]), dtype=embedding.dtype, device=device)
        self._parent = torch.empty_like(embedding)
        self._selected_host = torch.empty((2, num_roots), dtype=torch.int64, pin_memory=is_pinned)
        self._selected = torch.empty((2, num_roots), dtype=torch.int64, device=device)
        self._output_host = torch.empty(num_roots * (num_actions + 2), pin_memory=is_pinned)
        self._value_B, self._reward_B, logits = np.split(self._output_host.numpy(), [num_roots, 2 * num_roots])
        self._prior_logits_BA = logits.reshape(num_roots, num_actions)

    def reset(self, embedding: Tensor) -> Array:
        """See `Model`."""
        self.embedding[: len(embedding)] = embedding
        return self._tree.parent_embedding

    def step(self, recurrent_fn: RecurrentFn, leaf: int) -> LeafOutput:
        """See `Model`."""
        np.stack([self._tree.row, self._tree.action], out=self._selected_host.numpy())
        self._selected.copy_(self._selected_host, non_blocking=True)
        row_B, action_B = self._selected
        torch.index_select(self.embedding, 0, row_B, out=self._parent)
        value_B, reward_B, prior_logits_BA, embedding = recurrent_fn(self._parent, action_B)
        self.embedding[leaf * len(embedding) :][: len(embedding)] = embedding
        output = torch.cat([value_B.float(), reward_B.float(), prior_logits_BA.float().flatten()])
        self._output_host.copy_(output, non_blocking=True)
        if output.is_cuda:
            torch.cuda.current_stream(output.device).synchronize()
        return self._value_B, self._reward_B, self._prior_logits_BA, self._tree.parent_embedding


def to_array(tensor: Tensor) -> Array:
    """Returns a contiguous float32 array, without a copy where the tensor is that and on the CPU."""
    array: Array = tensor.float().cpu().contiguous().numpy()
    return array
