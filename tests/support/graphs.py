"""What stands in for a device's graph where there is no such device."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree


class RepeatedGraph:
    """What a graph does, by doing it again: it reads the same inputs and overwrites the same results.

    Attributes:
      recorded: how often any has recorded something.
    """

    recorded = 0

    def record(self, function: Callable[[], Any]) -> Any:
        RepeatedGraph.recorded += 1
        self._function, self._result = function, pytree.tree_map(torch.zeros_like, function())
        return self._result

    def replay(self) -> None:
        pytree.tree_map(lambda held, new: held.copy_(new), self._result, self._function())
