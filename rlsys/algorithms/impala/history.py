"""The memory of real-time recurrent learning: sensitivities of every environment, from unroll to unroll.

They live beside the learner, one row per environment, and are advanced when an environment's unroll is learned from.
So actors carry nothing, and sensitivities are those of the learner's newest weights. That is exact as long as each
environment's unrolls come in order and complete; one that is lost empties its row, and is counted. (Upstream's actors
carry them, a megabyte each, through every inference; `CarriedHistory` learns from such.)

Shape legend: B unrolls, T rows, S numbers of a layer's state.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.impala.requirements import sensitivity_name
from rlsys.api import Saved
from rlsys.nets.rtrl_core import ExactCore, ExactLayer, Record
from rlsys.ops.sensitivities import SensitivityTable
from rlsys.types import Array, Batch, State

_FIRST_SIZE = 16


class History:
    """Sensitivities of all layers of a core, a row per environment; rows are made as environments appear."""

    def __init__(self, core: ExactCore) -> None:
        self._layers = list(core.each_layer())
        self._tables = [layer.no_history(_FIRST_SIZE) for layer in self._layers]
        self._rows: dict[int, int] = {}
        """Environment -> its row."""
        self._expected: dict[int, int] = {}
        """Environment -> position that its next unroll must have."""
        self.num_lost = 0
        """Gaps found so far."""

    def learn(
        self, batch: Batch, initial: Sequence[Tensor], records: Sequence[Record[Any]], continues_B: Tensor
    ) -> None:
        """Adds to the layers' gradients what came before these unrolls, and advances to what comes after them.

        Args:
          batch: the unrolls; where an environment occurs twice, the earlier one comes first.
          initial: per layer `[B, S]`, the gradient of the loss by the state that the unrolls began with.
          records: per layer, from the unroll of T + 1 rows, the last of which belongs to the next unroll, too.
          continues_B: bool, whether the episode goes on after the unroll.
        """
        num_rows = records[0].input_BTD.shape[1] - 1
        goes_on = continues_B.tolist()
        for members in _rounds(batch.environment):
            rows = self._rows_of(batch.environment[members], batch.position[members])
            ended = [row for row, member in zip(rows, members, strict=True) if not goes_on[member]]
            for layer, table, of_initial, record in zip(self._layers, self._tables, initial, records, strict=True):
                steps, inputs = record.derivatives().before(num_rows), record.input_BTD[:, :num_rows]
                of_members = of_initial
                if len(members) < len(batch.environment):
                    steps, inputs, of_members = steps.of(members), inputs[members], of_initial[members]
                _add_gradients(layer, table, of_members, rows)
                layer.advance(table, rows, steps, inputs)
                table.clear(ended)

    def save(self) -> Saved:
        """Returns everything; the rows of environments in use only."""
        environments = np.array(sorted(self._rows, key=self._rows.__getitem__), np.int64)
        used = len(environments)
        return {
            "environments": environments,
            "expected": np.array([self._expected[int(e)] for e in environments], np.int64),
            "num_lost": self.num_lost,
            "layers": [
                {name: tensor[:used].cpu().numpy().copy() for name, tensor in table.named().items()}
                for table in self._tables
            ],
        }

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""
        environments = saved["environments"].tolist()
        self._rows = {environment: row for row, environment in enumerate(environments)}
        self._expected = dict(zip(environments, saved["expected"].tolist(), strict=True))
        self.num_lost = saved["num_lost"]
        size = max(_FIRST_SIZE, len(environments))
        self._tables = [layer.no_history(size) for layer in self._layers]
        for table, layer in zip(self._tables, saved["layers"], strict=True):
            for name, tensor in table.named().items():
                tensor[: len(environments)] = torch.tensor(layer[name])

    def _rows_of(self, environments: Array, positions: Array) -> list[int]:
        """Returns the rows of environments, emptied where an unroll is missing or the environment is new."""
        rows, empty = [], []
        for environment, position in zip(environments.tolist(), positions.tolist(), strict=True):
            row = self._rows.setdefault(environment, len(self._rows))
            rows.append(row)
            if self._expected.get(environment, 0) != position:
                self.num_lost += position != 0  # a worker that is started again begins at 0, with new episodes
                empty.append(row)
            self._expected[environment] = position + 1
        size = len(self._tables[0].tensors()[0])
        if max(rows) >= size:
            self._tables = [table.grown(max(max(rows) + 1, 2 * size)) for table in self._tables]
        for table in self._tables:
            table.clear(empty)
        return rows


class CarriedHistory:
    """Sensitivities that come with the unrolls: those of the actors, by the weights that they acted with (upstream)."""

    num_lost = 0

    def __init__(self, core: ExactCore) -> None:
        self._layers = list(core.each_layer())

    def learn(
        self, batch: Batch, initial: Sequence[Tensor], records: Sequence[Record[Any]], continues_B: Tensor
    ) -> None:
        """Adds to the layers' gradients what came before these unrolls; arguments as in `History.learn`."""
        rows = range(len(batch.environment))
        for layer, table, of_initial in zip(
            self._layers, carried_tables(self._layers, batch.state), initial, strict=True
        ):
            _add_gradients(layer, table, of_initial, rows)

    def save(self) -> Saved:
        """Returns nothing: queues and actors hold it all."""
        return {}

    def load(self, saved: Saved) -> None:
        """Takes over nothing."""


def carried_tables(layers: Sequence[ExactLayer[Any, Any]], state: State) -> list[SensitivityTable]:
    """Returns copies of the sensitivities in a policy's state, per layer."""
    tables = []
    for index, layer in enumerate(layers):
        empty = layer.no_history(0)
        device = next(layer.parameters()).device
        arrays = [state[sensitivity_name(index, name)] for name in empty.named()]
        tables.append(type(empty)(*(torch.tensor(array, device=device) for array in arrays)))
    return tables


def _add_gradients(
    layer: ExactLayer[Any, Any], table: SensitivityTable, initial_BS: Tensor, rows: Sequence[int]
) -> None:
    more = layer.history_gradients(table, initial_BS, rows)
    for name, value in zip(table.named(), more, strict=True):
        parameter = layer.get_parameter(name)
        assert parameter.grad is not None
        parameter.grad += value


def _rounds(environment_B: Array) -> list[list[int]]:
    """Divides the batch so that no environment occurs twice in a part, and earlier unrolls are in earlier parts."""
    rounds: list[list[int]] = []
    counts: Counter[int] = Counter()
    for index, environment in enumerate(environment_B.tolist()):
        if counts[environment] == len(rounds):
            rounds.append([])
        rounds[counts[environment]].append(index)
        counts[environment] += 1
    return rounds
