"""Running moments, against those of all rows at once."""

from functools import partial

import torch

from rlsys.nets.observations.normalization import RunningMoments
from rlsys.testing.processes import RankGroup


def make_rows(size: int = 90) -> torch.Tensor:
    rows = torch.randn(size, 3, generator=torch.Generator().manual_seed(0))
    return rows * torch.tensor([0.1, 1.0, 50.0]) + torch.tensor([1000.0, 0.0, -7.0])


def test_moments_of_parts_are_those_of_the_whole() -> None:
    moments, rows = RunningMoments(3), make_rows()
    torch.testing.assert_close(moments(rows[:1]), rows[:1].clamp(-10.0, 10.0))
    for part in rows.split([1, 9, 30, 50]):
        moments.update(part, lambda tensors: None)
    torch.testing.assert_close(moments.mean, rows.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(moments.variance, rows.double().var(dim=0, correction=0).float(), rtol=1e-3, atol=0)
    assert moments.count == len(rows)
    normalized = moments(rows)
    torch.testing.assert_close(normalized.mean(dim=0), torch.zeros(3), atol=2e-3, rtol=0)
    torch.testing.assert_close(normalized.std(dim=0, correction=0), torch.ones(3), atol=2e-3, rtol=0)


def test_what_is_far_out_is_clamped() -> None:
    moments = RunningMoments(3)
    moments.update(make_rows(), lambda tensors: None)
    assert moments(torch.full((1, 3), 1e6)).tolist() == [[10.0, 10.0, 10.0]]


def test_a_single_feature_comes_back_in_its_own_units() -> None:
    moments, rows = RunningMoments(1), make_rows()[:, 2]
    moments.update(rows, lambda tensors: None)
    torch.testing.assert_close(moments.denormalize(moments(rows[:, None])[:, 0]), rows, rtol=1e-4, atol=1e-3)


def test_ranks_share_their_moments() -> None:
    group, rows, both = RankGroup(2, seed=0), make_rows(), [RunningMoments(3), RunningMoments(3)]
    for part in rows.split(30):
        halves = part[:12], part[12:]  # a rank may have fewer rows than another
        group.run(lambda rank, halves=halves: both[rank].update(halves[rank], partial(group.average, rank)))
    assert all(torch.equal(one, other) for one, other in zip(both[0].buffers(), both[1].buffers(), strict=True))
    torch.testing.assert_close(both[0].mean, rows.mean(dim=0), rtol=1e-5, atol=1e-5)
    assert both[0].count == len(rows) // 2


def test_moments_are_buffers_and_no_parameters() -> None:
    moments = RunningMoments(3)
    assert not list(moments.parameters())
    assert moments.state_dict().keys() == {"mean", "variance", "count"}
