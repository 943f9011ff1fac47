"""The memory of real-time recurrent learning: sensitivities of every environment, from unroll to unroll.

They live beside the learner, one row per environment, and are advanced when an environment's unroll is learned from.
So actors carry nothing, and sensitivities are those of the learner's newest weights. (Upstream's actors carry them, a
megabyte each, through every inference.) That is exact as long as each environment's unrolls come in order and complete;
one that is lost empties its row, and is counted.

Shape legend: B unrolls, T rows, N units, D inputs.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rlsys.api import Saved
from rlsys.nets.elstm import ELSTMCore, ELSTMRecord
from rlsys.ops.rtrl import Derivatives, Sensitivities, advance, history_gradients
from rlsys.types import Array

_FIRST_SIZE = 16


class History:
    """Sensitivities of all layers of a core, a row per environment; rows are made as environments appear."""

    def __init__(self, core: ELSTMCore) -> None:
        self._layers = list(core.each_layer())
        self._tables = [self._zeros(layer_index, _FIRST_SIZE) for layer_index in range(len(self._layers))]
        self._rows: dict[int, int] = {}
        """Environment -> its row."""
        self._expected: dict[int, int] = {}
        """Environment -> position that its next unroll must have."""
        self.num_lost = 0
        """Gaps found so far."""

    def learn(
        self,
        *,
        environment_B: Array,
        position_B: Array,
        initial: Sequence[Tensor],
        records: Sequence[ELSTMRecord],
        continues_B: Tensor,
    ) -> None:
        """Adds to the layers' gradients what came before these unrolls, and advances to what comes after them.

        Args:
          environment_B: whose unrolls they are; where one occurs twice, the earlier unroll comes first.
          position_B: their numbers there.
          initial: per layer `[B, N]`, the gradient of the loss by the cells that the unrolls began with.
          records: per layer, from the unroll; a row beyond the T of the gradients is the bootstrap row.
          continues_B: bool, whether the episode goes on after the unroll.
        """
        for members in self._rounds(environment_B):
            rows = self._rows_of(environment_B[members], position_B[members], continues_B.device)
            index = torch.as_tensor(members, device=continues_B.device)
            ended = rows[~continues_B[index]]
            for layer, table, gradient, record in zip(self._layers, self._tables, initial, records, strict=True):
                before = table.rows(rows)
                for parameter, more in zip(
                    (layer.weight, layer.recurrent, layer.bias), history_gradients(before, gradient[index]), strict=True
                ):
                    assert parameter.grad is not None
                    parameter.grad += more
                steps, inputs = _without_bootstrap(record, index)
                table.put(rows, advance(before, steps, inputs))
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
                {name: getattr(table, name)[:used].cpu().numpy() for name in ("weight", "recurrent", "bias")}
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
        for index, layer in enumerate(saved["layers"]):
            table = self._tables[index] = self._zeros(index, size)
            for name, rows in layer.items():
                getattr(table, name)[: len(rows)] = torch.tensor(rows)

    def _zeros(self, layer_index: int, size: int) -> Sensitivities:
        weight = self._layers[layer_index].weight
        return Sensitivities.zeros(size, weight.shape[1], weight.shape[2], like=weight.detach())

    @staticmethod
    def _rounds(environment_B: Array) -> list[Array]:
        """Divides the batch so that no environment occurs twice in a part, and earlier unrolls are in earlier parts."""
        seen: Mapping[int, int] = {}
        rounds: list[list[int]] = []
        counts: dict[int, int] = dict(seen)
        for index, environment in enumerate(environment_B.tolist()):
            turn = counts.get(environment, 0)
            counts[environment] = turn + 1
            if turn == len(rounds):
                rounds.append([])
            rounds[turn].append(index)
        return [np.array(members, np.int64) for members in rounds]

    def _rows_of(self, environments: Array, positions: Array, device: torch.device) -> Tensor:
        """Returns the rows of environments, emptied where an unroll is missing or the environment is new."""
        rows, empty = [], []
        for environment, position in zip(environments.tolist(), positions.tolist(), strict=True):
            row = self._rows.setdefault(environment, len(self._rows))
            rows.append(row)
            if self._expected.get(environment, 0) != position:
                self.num_lost += position != 0  # a worker that is started again begins at 0, with new episodes
                empty.append(row)
            self._expected[environment] = position + 1
        if max(rows) >= len(self._tables[0].bias):
            self._grow(max(rows) + 1)
        if empty:
            for table in self._tables:
                table.clear(torch.as_tensor(empty, device=device))
        return torch.as_tensor(rows, device=device)

    def _grow(self, at_least: int) -> None:
        for index, table in enumerate(self._tables):
            old_size = len(table.bias)
            larger = self._zeros(index, max(at_least, 2 * old_size))
            larger.put(torch.arange(old_size, device=larger.bias.device), table)
            self._tables[index] = larger


def _without_bootstrap(record: ELSTMRecord, index: Tensor) -> tuple[Derivatives, Tensor]:
    """Returns derivatives and inputs of some unrolls, without the last row, which belongs to the next unroll."""
    steps = record.derivatives()
    chosen = Derivatives(steps.previous[:-1, index], steps.local[:-1, index], steps.carry[:-1, index])
    return chosen, record.input_BTD[index, :-1]
