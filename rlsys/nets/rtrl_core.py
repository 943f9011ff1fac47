"""Recurrent cores with an elementwise recurrence, whose exact gradient over all of an episode is affordable.

A core is a stack of layers. Within a layer the gradient over all of history is exact; from a layer to the one below
errors pass within the unroll only (Zucchet et al. 2023, https://arxiv.org/abs/2305.15947).

Shape legend: B sequences, T rows, D inputs, H outputs, S numbers of a layer's state, R rows of a table.
"""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from rlsys.nets.recurrent import RecurrentCore, Unrolled
from rlsys.ops.sensitivities import SensitivityTable, StepDerivatives

Table = TypeVar("Table", bound=SensitivityTable)
Steps = TypeVar("Steps", bound=StepDerivatives)


class Record(Generic[Steps]):
    """What RTRL needs of one layer's unroll.

    Attributes:
      input_BTD: the layer's inputs, detached.
      derive: computes the derivatives of all rows from the activations; set by the pass over the rows.
    """

    def __init__(self, input_BTD: Tensor) -> None:
        self.input_BTD = input_BTD.detach()
        self.derive: Callable[[], Steps] | None = None
        self._derivatives: Steps | None = None

    def derivatives(self) -> Steps:
        """Returns those of all rows, time first; computed at most once, by whoever asks first."""
        if self._derivatives is None:
            assert self.derive is not None, "the layer has not been unrolled"
            self._derivatives = self.derive()
        return self._derivatives


class ExactLayer(nn.Module, abc.ABC, Generic[Table, Steps]):
    """One layer. A table's fields are named after the parameters whose sensitivities they are.

    Attributes:
      num_outputs: H.
      state_size: S.
    """

    num_outputs: int
    state_size: int

    @abc.abstractmethod
    def step(self, input_BD: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Returns outputs `[B, H]` and state `[B, S]` after one row."""

    @abc.abstractmethod
    def unroll(self, input_BTD: Tensor, keep_TB1: Tensor, state_BS: Tensor) -> tuple[Tensor, Record[Steps]]:
        """Returns outputs `[B, T, H]` and the record; `keep_TB1` is 0 where a row begins an episode, else 1."""

    @abc.abstractmethod
    def no_history(self, size: int) -> Table:
        """Returns the sensitivities of `size` sequences at the beginning of their episodes."""

    @abc.abstractmethod
    def history_gradients(self, table: Table, initial_BS: Tensor, rows: Sequence[int]) -> tuple[Tensor, ...]:
        """Returns what the time before an unroll adds to the gradients, in the order of the table's fields.

        Args:
          table: sensitivities when the unroll began.
          initial_BS: ∂L/∂state_init of the unroll's loss.
          rows: rows of the table that belong to the B unrolls.
        """

    @abc.abstractmethod
    def advance(self, table: Table, rows: Sequence[int], steps: Steps, input_BTD: Tensor) -> None:
        """Moves sensitivities to the time after all rows of an unroll, in place.

        Args:
          table: before row 0 of the unrolls.
          rows: rows of the table that belong to the B unrolls; each once.
          steps: derivatives of these T rows.
          input_BTD: the layer's inputs there.
        """


class ExactCore(RecurrentCore):
    """Layers, each of which reads the outputs of the one below; layer k keeps its state as `<state_name>_<k>`."""

    def __init__(self, num_inputs: int, layers: Sequence[ExactLayer[Any, Any]], state_name: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.num_inputs, self.num_outputs = num_inputs, layers[-1].num_outputs
        self.state_sizes = {f"{state_name}_{index}": layer.state_size for index, layer in enumerate(layers)}

    def each_layer(self) -> Iterator[ExactLayer[Any, Any]]:
        """Yields the layers, lowest first."""
        for layer in self.layers:
            assert isinstance(layer, ExactLayer)
            yield layer

    def step(self, input_BD: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `RecurrentCore`."""
        output, after = input_BD, {}
        for name, layer in zip(self.state_sizes, self.each_layer(), strict=True):
            output, after[name] = layer.step(output, state[name])
        return output, after

    def carry(self, input_BD: Tensor, state: Mapping[str, Tensor], tables: Sequence[SensitivityTable]) -> None:
        """Moves the sensitivities of all layers over one row, in place: what it costs to know them while acting.

        Args:
          input_BD: inputs of the row.
          state: memory before it.
          tables: per layer, of the B sequences.
        """
        output, rows = input_BD.unsqueeze(1), range(len(input_BD))
        keep_1B1 = input_BD.new_ones(1, len(input_BD), 1)
        for name, layer, table in zip(self.state_sizes, self.each_layer(), tables, strict=True):
            output, record = layer.unroll(output, keep_1B1, state[name])
            layer.advance(table, rows, record.derivatives(), record.input_BTD)

    def unroll(self, input_BTD: Tensor, first_BT: Tensor, state: Mapping[str, Tensor]) -> Unrolled:
        """See `RecurrentCore`; the records are `Record`s."""
        output, records = input_BTD, []
        keep_TB1 = (~first_BT).t().unsqueeze(-1).to(input_BTD.dtype).contiguous()
        for name, layer in zip(self.state_sizes, self.each_layer(), strict=True):
            output, record = layer.unroll(output, keep_TB1, state[name])
            records.append(record)
        return Unrolled(output, tuple(records))
