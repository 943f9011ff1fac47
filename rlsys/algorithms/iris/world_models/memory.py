"""What a world model knows of B copies of an environment: tensors that are written in place, and two counts.

Shape legend: B copies.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

COUNTS = ("known", "fed")
"""Of a state, beside a memory's tensors."""
State = Mapping[str, Tensor]
"""Name -> `[B, ...]`: a memory as a value; names and shapes are always the same, however long the history."""


@dataclass
class Memory:
    """A memory of copies that are all as far as each other.

    Attributes:
      tensors: name -> `[B, ...]`, of fixed shapes; they are overwritten.
      known: tokens that are remembered.
      fed: those of them that the network has seen; it sees the others in the next pass, all at once.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    known: int = 0
    fed: int = 0

    def clone(self) -> "Memory":
        """Returns a memory that can go on by itself."""
        return Memory({name: tensor.clone() for name, tensor in self.tensors.items()}, self.known, self.fed)

    def rows(self, index: Tensor) -> "Memory":
        """Returns a memory of its own of some copies, chosen or repeated by number."""
        return Memory({name: tensor[index] for name, tensor in self.tensors.items()}, self.known, self.fed)

    def state(self) -> dict[str, Tensor]:
        """Returns the memory as a value, in the same tensors."""
        example = next(iter(self.tensors.values()))
        counts = (self.known, self.fed)
        known_and_fed = {
            name: torch.full((len(example),), count, dtype=torch.int64, device=example.device)
            for name, count in zip(COUNTS, counts, strict=True)
        }
        return {**self.tensors, **known_and_fed}


def memories(state: State) -> Iterator[tuple[Tensor, Memory]]:
    """Yields the memories in a state, of copies that are as far as each other, and which those are.

    They are in tensors of their own: the state stays as it is.
    """
    counts = torch.stack([state[name] for name in COUNTS], dim=-1)
    tensors = {name: tensor for name, tensor in state.items() if name not in COUNTS}
    for known, fed in torch.unique(counts, dim=0).tolist():
        (index,) = (counts == counts.new_tensor([known, fed])).all(-1).nonzero(as_tuple=True)
        yield index, Memory({name: tensor[index] for name, tensor in tensors.items()}, known, fed)


def put_together(parts: Sequence[tuple[Tensor, State]]) -> dict[str, Tensor]:
    """Returns one state of several, in the order that their numbers say; it may share the tensors of a single one."""
    if len(parts) == 1:
        return dict(parts[0][1])
    order = torch.cat([index for index, _ in parts]).argsort()
    return {name: torch.cat([state[name] for _, state in parts])[order] for name in parts[0][1]}
