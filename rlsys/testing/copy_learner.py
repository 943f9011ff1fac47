"""Learns the copy task with a recurrent core: the same loop for real-time recurrent learning and for backpropagation.

Sequences are learned from in chunks of `span` tokens. Backpropagation stays within a chunk, so it is truncated unless
the span is the whole sequence; real-time recurrent learning adds what the time before the chunk contributes:

    for chunk in chunks:
        backpropagate the chunk's loss
        gradient += ∂L/∂state_init ⊙ sensitivities          # RTRL only
        sensitivities, state = those after the chunk
        clip the gradient, step the optimiser                # or once after the last chunk

Shape legend: B sequences, T tokens of a chunk, V ids, D = V inputs, H outputs of the core.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.errors import ConfigError
from rlsys.nets.recurrent import RecurrentCore
from rlsys.nets.rtrl_core import ExactCore, Record
from rlsys.ops.sensitivities import SensitivityTable
from rlsys.testing.copy_task import NUM_TOKENS, CopyExamples


@dataclass(frozen=True)
class CopyLearnerConfig:
    """How to learn.

    Attributes:
      gradient: backpropagation within chunks alone, or with real-time recurrent learning across them.
      span: tokens of a chunk; None for the whole sequence.
      update: after every chunk (upstream's way with a span of 1), or once per sequence.
      learning_rate: Adam's.
      max_norm: the gradient is clipped to it.
    """

    gradient: Literal["rtrl", "backpropagation"] = "rtrl"
    span: int | None = 1
    update: Literal["chunk", "sequence"] = "chunk"
    learning_rate: float = 1e-3
    max_norm: float = 1.0


@dataclass(frozen=True)
class CopyAccuracy:
    """How much was recalled.

    Attributes:
      bits: share of the bits that were said.
      sequences: share of the examples of which all bits were.
    """

    bits: float
    sequences: float


class CopyLearner(nn.Module):
    """A core that reads ids as one-hot vectors, a linear read-out of ids, and their optimiser."""

    def __init__(self, core: RecurrentCore, config: CopyLearnerConfig) -> None:
        super().__init__()
        if config.span is not None and config.span < 1:
            raise ConfigError(f"span must be at least 1, or None for the whole sequence, but is {config.span}")
        if config.gradient == "rtrl" and not isinstance(core, ExactCore):
            raise ConfigError(
                f"gradient=rtrl needs a core with an elementwise recurrence, such as ELSTMCore, and "
                f"{type(core).__name__} has none; use gradient=backpropagation"
            )
        if core.num_inputs != NUM_TOKENS:
            raise ConfigError(f"the core must have {NUM_TOKENS} inputs, one per id, but has {core.num_inputs}")
        self.core, self.config = core, config
        self.read_out = nn.Linear(core.num_outputs, NUM_TOKENS)
        self.num_updates = 0
        self._optimizer = torch.optim.Adam(self.parameters(), lr=config.learning_rate)

    def learn(self, examples: CopyExamples) -> float:
        """Goes over a batch once, and returns the mean loss of its recalled bits."""
        input_BTD, target_BT, recall_BT = _tensors(examples)
        size, num_tokens = target_BT.shape
        span = num_tokens if self.config.span is None else self.config.span
        state = self._no_memory(size)
        tables = self._no_history(size)
        self.zero_grad()
        total, num_recalled = 0.0, int(recall_BT.sum())
        for start in range(0, num_tokens, span):
            chunk = slice(start, start + span)
            is_last = start + span >= num_tokens
            initial = {name: value.requires_grad_() for name, value in state.items()}
            output_BTH, records = self._unroll(input_BTD[:, chunk], initial)
            if not is_last:  # before the weights change
                state = self._after(input_BTD[:, chunk], initial)
            is_scored = bool(recall_BT[:, chunk].any())
            if is_scored:
                total += self._backpropagate(output_BTH, target_BT[:, chunk], recall_BT[:, chunk], num_recalled)
            if tables:
                self._cross(tables, initial, records, is_scored)
            if is_last if self.config.update == "sequence" else is_scored:
                self._update()
        return total

    @torch.no_grad()
    def evaluate(self, examples: CopyExamples) -> CopyAccuracy:
        """Returns the accuracy of the likelier bit at every place of recall."""
        input_BTD, target_BT, recall_BT = _tensors(examples)
        output_BTH, _ = self._unroll(input_BTD, self._no_memory(len(examples)))
        said_BT = self.read_out(output_BTH).argmax(dim=-1)
        right_BT = (said_BT == target_BT) & recall_BT
        complete_B = (right_BT == recall_BT).all(dim=1)
        return CopyAccuracy(float(right_BT.sum() / recall_BT.sum()), float(complete_B.float().mean()))

    def _backpropagate(self, output_BTH: Tensor, target_BT: Tensor, recall_BT: Tensor, num_recalled: int) -> float:
        logits = self.read_out(output_BTH[recall_BT])
        loss = functional.cross_entropy(logits, target_BT[recall_BT], reduction="sum") / num_recalled
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _cross(
        self,
        tables: list[SensitivityTable],
        initial: Mapping[str, Tensor],
        records: tuple[Record, ...],
        is_scored: bool,
    ) -> None:
        """Adds what came before the chunk to the gradients, and moves sensitivities to after it."""
        assert isinstance(self.core, ExactCore)
        rows = range(len(tables[0].tensors()[0]))
        for layer, table, state, record in zip(self.core.each_layer(), tables, initial.values(), records, strict=True):
            if is_scored:
                assert state.grad is not None
                for name, value in zip(table.named(), layer.history_gradients(table, state.grad, rows), strict=True):
                    parameter = layer.get_parameter(name)
                    assert parameter.grad is not None
                    parameter.grad += value
            layer.advance(table, rows, record.derivatives(), record.input_BTD)

    def _update(self) -> None:
        nn.utils.clip_grad_norm_(self.parameters(), self.config.max_norm)
        self._optimizer.step()
        self.zero_grad()
        self.num_updates += 1

    def _no_memory(self, size: int) -> dict[str, Tensor]:
        like = self.read_out.weight
        return {name: like.new_zeros(size, number) for name, number in self.core.state_sizes.items()}

    def _no_history(self, size: int) -> list[SensitivityTable]:
        if self.config.gradient != "rtrl":
            return []
        assert isinstance(self.core, ExactCore)
        return [layer.no_history(size) for layer in self.core.each_layer()]

    def _unroll(self, input_BTD: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Record, ...]]:
        first_BT = torch.zeros(input_BTD.shape[:2], dtype=torch.bool)
        return self.core.unroll(input_BTD, first_BT, state)

    @torch.no_grad()
    def _after(self, input_BTD: Tensor, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the memory after the tokens."""
        after = dict(state)
        for input_BD in input_BTD.unbind(dim=1):
            _, after = self.core.step(input_BD, after)
        return {name: value.detach() for name, value in after.items()}


def _tensors(examples: CopyExamples) -> tuple[Tensor, Tensor, Tensor]:
    """Returns one-hot inputs `[B, T, D]`, targets `[B, T]` and places of recall `[B, T]`."""
    one_hot_BTD = functional.one_hot(torch.from_numpy(examples.inputs), NUM_TOKENS).to(torch.get_default_dtype())
    return one_hot_BTD, torch.from_numpy(examples.targets), torch.from_numpy(examples.is_recalled)
