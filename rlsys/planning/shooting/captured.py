"""A decision as one graph: recorded once for each size of batch, then replayed by a single call of the device.

What is recorded is a function of tensors: sampling, roll-out, top-k and refit of all iterations, and whatever comes
before them. It must not ask the device for a number, nor depend on anything but its inputs and on tensors that are
overwritten in place, such as weights into which new ones are copied.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from rlsys.planning.shooting.plan import Plan

Inputs = Mapping[str, Tensor]
"""Name -> `[B, ...]`; names, shapes without B and types are always the same."""
Decide = Callable[[Inputs], Plan]

_WARM_UPS = 2
"""Runs before a recording, in which libraries choose and allocate what they need."""


class Graph(Protocol):
    """Records what a function does to tensors."""

    def record(self, decide: Callable[[], Plan]) -> Plan:
        """Returns the function's results, which `replay` overwrites."""

    def replay(self) -> None:
        """Does it again, with what is in the same inputs now and new random numbers."""


class CudaGraph:
    """A graph of CUDA."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        """Takes what the function draws from, whose state moves on with each replay; None where that is torch's own."""
        self._graph = torch.cuda.CUDAGraph()
        self._generator = generator

    def record(self, decide: Callable[[], Plan]) -> Plan:
        """See `Graph`; random numbers begin as if there had been no warm-up."""
        device = torch.cuda.current_device()
        drawn_from = torch.cuda.default_generators[device] if self._generator is None else self._generator
        begun = drawn_from.get_state()
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                decide()
        torch.cuda.current_stream().wait_stream(stream)
        drawn_from.set_state(begun)
        if self._generator is not None:
            self._graph.register_generator_state(self._generator)
        with torch.cuda.graph(self._graph):
            return decide()

    def replay(self) -> None:
        """See `Graph`."""
        self._graph.replay()


class CapturedDecision:
    """A decision that is recorded at the first call with each batch size, and replayed from then on."""

    def __init__(self, decide: Decide, make_graph: Callable[[], Graph]) -> None:
        """Takes the decision and what records it."""
        self._decide = decide
        self._make_graph = make_graph
        self._recorded: dict[tuple[object, ...], _Recording] = {}

    @torch.no_grad()
    def __call__(self, inputs: Inputs) -> Plan:
        """Returns what the decision is, in tensors of its own."""
        key = tuple((name, tensor.shape, tensor.dtype) for name, tensor in inputs.items())
        recording = self._recorded.get(key)
        if recording is None:
            recording = self._recorded[key] = self._record(inputs)
        for name, tensor in inputs.items():
            recording.inputs[name].copy_(tensor)
        recording.graph.replay()
        plan: Plan = _cloned(recording.plan)
        return plan

    def _record(self, inputs: Inputs) -> "_Recording":
        held = {name: tensor.clone() for name, tensor in inputs.items()}
        graph = self._make_graph()
        return _Recording(held, graph, graph.record(lambda: self._decide(held)))


class _Recording(NamedTuple):
    """A graph, and where its inputs are read and its results written."""

    inputs: dict[str, Tensor]
    graph: Graph
    plan: Plan


def captured(decide: Decide, device: torch.device, generator: torch.Generator | None = None) -> Decide:
    """Returns the decision as one graph on a GPU; elsewhere itself.

    Args:
      decide: function of tensors.
      device: that computes it.
      generator: what it draws from.
    """
    return CapturedDecision(decide, lambda: CudaGraph(generator)) if device.type == "cuda" else decide


def _cloned(result: Any) -> Any:
    """Returns copies of all tensors in tuples and mappings."""
    if isinstance(result, Tensor):
        return result.clone()
    if isinstance(result, Mapping):
        return {name: _cloned(part) for name, part in result.items()}
    return type(result)(*map(_cloned, result))
