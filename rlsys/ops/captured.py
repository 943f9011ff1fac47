"""A function of tensors as one graph: recorded once for each size of batch, then replayed by one call of the device.

What is recorded must not ask the device for a number, nor depend on anything but its inputs and on tensors that are
overwritten in place, such as weights into which new ones are copied.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]
"""Name -> `[B, ...]`; names, shapes without B and types are always the same."""
Result = TypeVar("Result")
"""Tensors, in tuples and mappings."""

_WARM_UPS = 2
"""Runs before a recording, in which libraries choose and allocate what they need."""


class Graph(Protocol):
    """Records what a function does to tensors."""

    def record(self, function: Callable[[], Result]) -> Result:
        """Returns the function's results, which `replay` overwrites."""

    def replay(self) -> None:
        """Does it again, with what is in the same inputs now and new random numbers."""


class CudaGraph:
    """A graph of CUDA."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        """Takes what the function draws from, whose state moves on with each replay; None where that is torch's own."""
        self._graph = torch.cuda.CUDAGraph()
        self._generator = generator

    def record(self, function: Callable[[], Result]) -> Result:
        """See `Graph`; random numbers begin as if there had been no warm-up."""
        device = torch.cuda.current_device()
        drawn_from = torch.cuda.default_generators[device] if self._generator is None else self._generator
        begun = drawn_from.get_state()
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                function()
        torch.cuda.current_stream().wait_stream(stream)
        drawn_from.set_state(begun)
        if self._generator is not None:
            self._graph.register_generator_state(self._generator)
        with torch.cuda.graph(self._graph):
            return function()

    def replay(self) -> None:
        """See `Graph`."""
        self._graph.replay()


class Captured(Generic[Result]):
    """A function without gradients, recorded at the first call with each batch size, and replayed from then on."""

    def __init__(self, function: Callable[[Inputs], Result], make_graph: Callable[[], Graph]) -> None:
        """Takes the function and what records it."""
        self._function = function
        self._make_graph = make_graph
        self._recorded: dict[tuple[object, ...], _Recording] = {}

    @torch.no_grad()
    def __call__(self, inputs: Inputs) -> Result:
        """Returns what the function does, in tensors of its own."""
        key = tuple((name, tensor.shape, tensor.dtype) for name, tensor in inputs.items())
        recording = self._recorded.get(key)
        if recording is None:
            recording = self._recorded[key] = self._record(inputs)
        for name, tensor in inputs.items():
            recording.inputs[name].copy_(tensor)
        recording.graph.replay()
        result: Result = _cloned(recording.result)
        return result

    def _record(self, inputs: Inputs) -> "_Recording":
        held = {name: tensor.clone() for name, tensor in inputs.items()}
        graph = self._make_graph()
        return _Recording(held, graph, graph.record(lambda: self._function(held)))


class _Recording(NamedTuple):
    """A graph, and where its inputs are read and its results written."""

    inputs: dict[str, Tensor]
    graph: Graph
    result: Any


def captured(
    function: Callable[[Inputs], Result], device: torch.device, generator: torch.Generator | None = None
) -> Callable[[Inputs], Result]:
    """Returns a function as one graph on a GPU; elsewhere itself.

    Args:
      function: of tensors, without gradients.
      device: that computes it.
      generator: what it draws from; None is torch's own.
    """
    return Captured(function, lambda: CudaGraph(generator)) if device.type == "cuda" else function


def _cloned(result: Any) -> Any:
    """Returns copies of all tensors in tuples and mappings."""
    if isinstance(result, Tensor):
        return result.clone()
    if isinstance(result, Mapping):
        return {name: _cloned(part) for name, part in result.items()}
    parts = map(_cloned, result)
    return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
