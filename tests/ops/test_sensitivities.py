"""Tables of sensitivities, whatever they are of."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlsys.ops.sensitivities import SensitivityTable, StepDerivatives, without_negligible


@dataclass
class Table(SensitivityTable):
    weight: Tensor
    bias: Tensor


@dataclass
class Steps(StepDerivatives):
    slope: Tensor


def make_table() -> Table:
    return Table(torch.ones(3, 2, 2), torch.ones(3, 2))


def test_a_row_is_forgotten_alone_and_a_copy_remembers_it() -> None:
    table = make_table()
    copied = table.clone()
    table.clear([1])
    for tensor in table.tensors():
        assert not tensor[1].any()
        assert tensor[[0, 2]].all()
    assert all(tensor.all() for tensor in copied.tensors())


def test_a_larger_table_begins_with_the_old_rows_and_goes_on_without_history() -> None:
    grown = make_table().grown(5)
    assert [tuple(tensor.shape) for tensor in grown.tensors()] == [(5, 2, 2), (5, 2)]
    assert all(tensor[:3].all() and not tensor[3:].any() for tensor in grown.tensors())


def test_steps_are_cut_by_time_and_by_member() -> None:
    steps = Steps(torch.arange(12).view(4, 3))
    assert torch.equal(steps.before(2).slope, torch.arange(6).view(2, 3))
    assert torch.equal(steps.of([2, 0]).slope, steps.slope[:, [2, 0]])


def test_what_has_shrunk_to_nothing_is_zero_and_all_else_stays() -> None:
    x = torch.tensor([1e-40, -1e-40, 1e-30, -2.0, 0.0])
    assert without_negligible(x).tolist() == [0.0, 0.0, x[2].item(), -2.0, 0.0]
