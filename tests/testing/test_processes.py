"""Ranks in one process behave as in several: own generators, one mean, and no one waits for ever."""

import pytest
import torch
from torch import Tensor

from rlsys.testing.processes import Process, RankGroup
from rlsys.testing.requirement import ContractError


def test_processes_do_not_draw_from_each_others_generators() -> None:
    one, other, alone = Process(1), Process(2), Process(1)
    drawn = []
    for _ in range(3):
        with one:
            drawn.append(torch.rand(2))
        with other:
            torch.rand(5)
    with alone:
        expected = [torch.rand(2) for _ in range(3)]
    assert torch.equal(torch.stack(drawn), torch.stack(expected))


def test_nothing_outside_is_drawn_from() -> None:
    state = torch.random.get_rng_state()
    with Process(1):
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_ranks_average_and_keep_their_own_generators() -> None:
    group = RankGroup(3, seed=5)

    def work(rank: int) -> tuple[Tensor, Tensor]:
        tensors = [torch.full((2,), float(rank)), torch.full((1, 3), 10.0 * rank)]
        before = torch.rand(1)
        group.average(rank, tensors)
        group.average(rank, [])
        return torch.cat([tensor.reshape(-1) for tensor in tensors]), torch.cat([before, torch.rand(1)])

    done = group.run(work)
    assert all(torch.equal(mean, torch.tensor([1.0, 1.0, 10.0, 10.0, 10.0])) for mean, _ in done)
    for rank, (_, drawn) in enumerate(done):
        with Process(5 + rank):
            assert torch.equal(drawn, torch.cat([torch.rand(1), torch.rand(1)]))


def test_ranks_that_average_otherwise_are_told_apart() -> None:
    group = RankGroup(2, seed=0)
    with pytest.raises(ContractError, match=r"rank 0 averages tensors of shapes \[\(2,\)\], rank 1 averages .*\(3,\)"):
        group.run(lambda rank: group.average(rank, [torch.zeros(2 + rank)]))
    with pytest.raises(ContractError, match="rank 1 has finished its step"):
        group.run(lambda rank: None if rank else group.average(rank, [torch.zeros(2)]))


def test_an_error_of_one_rank_ends_all_and_the_group_goes_on() -> None:
    group = RankGroup(2, seed=0)

    def fail(rank: int) -> None:
        if rank:
            raise ValueError("rank 1 cannot")
        group.average(rank, [torch.zeros(1)])

    with pytest.raises(ValueError, match="rank 1 cannot"):
        group.run(fail)
    assert group.run(lambda rank: rank) == [0, 1]
