"""Functions as graphs: one for each size of batch, whose results outlive the next replay."""

import torch
from support.graphs import RepeatedGraph
from torch import Tensor

from rlsys.ops.captured import Captured, Inputs, captured


def doubled(inputs: Inputs) -> tuple[Tensor, dict[str, Tensor]]:
    return 2 * inputs["x"], {"sum": inputs["x"] + inputs["y"]}


def test_what_is_replayed_is_the_function_of_new_inputs() -> None:
    graphed, before = Captured(doubled, RepeatedGraph), RepeatedGraph.recorded
    inputs = [{"x": torch.full((size,), float(size)), "y": torch.arange(size)} for size in (2, 3, 2)]
    inputs[2]["x"] += 1.0
    results = [graphed(given) for given in inputs]
    assert RepeatedGraph.recorded - before == 2
    for given, (double, others) in zip(inputs, results, strict=True):
        assert torch.equal(double, 2 * given["x"]) and torch.equal(others["sum"], given["x"] + given["y"])


def test_nothing_that_is_replayed_has_a_gradient() -> None:
    double, _ = Captured(doubled, RepeatedGraph)({"x": torch.ones(1, requires_grad=True), "y": torch.ones(1)})
    assert not double.requires_grad


def test_a_cpu_needs_no_graph() -> None:
    assert captured(doubled, torch.device("cpu")) is doubled
