"""A sum tree: finds leaves in proportion to their priority in O(log n).

Schaul et al. 2016, "Prioritized experience replay", appendix B.2.1, https://arxiv.org/abs/1511.05952.

Every node has eight children that lie side by side, so a step down reads one or two cache lines and a million leaves
are seven levels. A node is always recomputed from its children, in one fixed order, and never corrected by a
difference: nothing drifts, and equal leaves give equal sums whatever came before.
"""

import numpy as np

from rlsys.compiled import njit
from rlsys.types import Array

_WIDTH = 8


class SumTree:
    """Priorities of a fixed number of leaves, all 0 at first.

    Attributes:
      capacity: number of leaves.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        sizes = [_padded(capacity)]
        while sizes[-1] > _WIDTH:
            sizes.append(_padded(sizes[-1] // _WIDTH))
        self._offsets = np.cumsum([0, *sizes], dtype=np.int64)  # where each level starts: leaves first, root last
        self._nodes = np.zeros(self._offsets[-1] + 1)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._nodes[-1])

    @property
    def priorities(self) -> Array:
        """`[capacity]` float64: a view to read, never to write."""
        return self._nodes[: self.capacity]

    def set_range(self, start: int, priorities: Array) -> None:
        """Sets the leaves `start`, `start + 1`, … to `priorities` (`[n]`, each finite and ≥ 0)."""
        stop = start + len(priorities)
        self._nodes[start:stop] = priorities
        _refresh_range(self._nodes, self._offsets, start, stop)

    def clear_range(self, start: int, stop: int) -> None:
        """Sets the leaves `start` up to, but not including, `stop` to 0."""
        self._nodes[start:stop] = 0.0
        _refresh_range(self._nodes, self._offsets, start, stop)

    def set(self, leaves: Array, priorities: Array) -> None:
        """Sets any leaves; of one that is named twice the last priority stays.

        Args:
          leaves: `[n]` integers.
          priorities: `[n]`, each finite and ≥ 0.
        """
        assert len(leaves) == len(priorities), (len(leaves), len(priorities))
        # Fresh arrays: what came through shared memory is read-only, which numba would compile a second time for.
        _set(self._nodes, self._offsets, np.array(leaves, np.int64), np.array(priorities, np.float64))

    def find(self, positions: Array) -> Array:
        """Returns the leaves into whose shares of `[0, total)` the positions fall; never one of priority 0.

        Args:
          positions: `[n]` in `[0, total]`; the upper end belongs to the last leaf that has a share.

        Returns:
          `[n]` int64. They mean something only where `total` is above 0.
        """
        leaves = np.zeros(len(positions), np.int64)
        _descend(self._nodes, self._offsets, np.array(positions, np.float64), leaves)
        return leaves


def _padded(size: int) -> int:
    return -(-max(size, 1) // _WIDTH) * _WIDTH


@njit(cache=True, inline="always")
def _sum_children(nodes: Array, first: int) -> float:
    total: float = ((nodes[first] + nodes[first + 1]) + (nodes[first + 2] + nodes[first + 3])) + (
        (nodes[first + 4] + nodes[first + 5]) + (nodes[first + 6] + nodes[first + 7])
    )
    return total


@njit(cache=True)
def _refresh_range(nodes: Array, offsets: Array, start: int, stop: int) -> None:
    """Recomputes every ancestor of the leaves from `start` to `stop - 1`."""
    if stop <= start:
        return
    first, last = start, stop - 1
    for level in range(1, len(offsets)):
        first //= _WIDTH
        last //= _WIDTH
        for node in range(first, last + 1):
            nodes[offsets[level] + node] = _sum_children(nodes, offsets[level - 1] + node * _WIDTH)


@njit(cache=True)
def _set(nodes: Array, offsets: Array, path: Array, priorities: Array) -> None:
    """Sets the leaves in `path` (overwritten) and recomputes their ancestors, level by level.

    Neighbours in `path` with a common ancestor recompute it once: sampled keys are sorted, so there are many.
    """
    count = len(path)
    for i in range(count):
        nodes[path[i]] = priorities[i]
    for level in range(1, len(offsets)):
        kept = 0
        for i in range(count):
            node = path[i] // _WIDTH
            if kept == 0 or node != path[kept - 1]:
                nodes[offsets[level] + node] = _sum_children(nodes, offsets[level - 1] + node * _WIDTH)
                path[kept] = node
                kept += 1
        count = kept


@njit(cache=True)
def _descend(nodes: Array, offsets: Array, positions: Array, leaves: Array) -> None:
    """Walks all positions (overwritten) down together, a level at a time, so that their cache misses overlap."""
    for level in range(len(offsets) - 2, -1, -1):
        for i in range(len(positions)):
            position = positions[i]
            chosen = leaves[i] * _WIDTH
            for child in range(chosen, chosen + _WIDTH):
                mass = nodes[offsets[level] + child]
                if mass > 0.0:
                    chosen = child
                    if position < mass:
                        break
                    position -= mass
            else:
                # The siblings' sum was rounded up: the position belongs to the very end of the last of them.
                position = np.inf
            leaves[i] = chosen
            positions[i] = position
