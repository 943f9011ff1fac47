"""What is foretold of some later frame: only the likeliest counts, and never one that there is not."""

import torch
from torch.distributions import Normal

from rlsys.algorithms.planet.time_agnostic import best_later, doubt

SIZE, LENGTH, WIDTH = 3, 7, 5


def draw(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    foretold, value = (torch.randn(SIZE, LENGTH, WIDTH, generator=generator) for _ in range(2))
    return foretold, value


def test_it_is_the_least_of_all_pairs_ahead() -> None:
    foretold, value = draw()
    is_frame = torch.ones(SIZE, LENGTH)
    is_frame[1, 4:] = 0.0
    for horizon in (1, 3, 20):
        best = []
        for row in range(SIZE):
            for source in range(LENGTH):
                ahead = range(source + 1, min(LENGTH, source + horizon + 1))
                found = [
                    -Normal(foretold[row, source], 1.0).log_prob(value[row, frame]).sum()
                    for frame in ahead
                    if is_frame[row, frame] and is_frame[row, source]
                ]
                best += [min(found)] if found else []
        torch.testing.assert_close(best_later(foretold, value, is_frame, horizon), torch.stack(best).mean())


def test_it_is_never_nothing_and_moves_what_foretells() -> None:
    foretold, value = draw()
    foretold.requires_grad_()
    loss = best_later(foretold, value, torch.ones(SIZE, LENGTH), 3)
    assert loss > WIDTH * 0.9189
    loss.backward()  # type: ignore[no-untyped-call]
    assert foretold.grad is not None
    assert foretold.grad[:, :-1].any(dim=-1).all()
    assert not foretold.grad[:, -1].any()  # nothing comes after it


def test_windows_without_a_later_frame_cost_nothing() -> None:
    foretold, value = draw()
    assert best_later(foretold[:, :1], value[:, :1], torch.ones(SIZE, 1), 3) == 0.0


def test_what_was_foretold_is_doubted_less_than_what_was_not() -> None:
    mean, stddev = torch.zeros(4, 3), torch.full((4, 3), 0.5)
    away = torch.tensor([0.0, 0.5, 2.0, 50.0])[:, None].expand(4, 3)
    doubts = doubt(mean, stddev, away, stddev)
    assert (doubts[1:] > doubts[:-1]).all()
    assert doubts[-1] <= 1.0
    divergence = torch.log(torch.tensor(0.5 / 0.6 + 0.1)) + 0.25 / (2 * 0.25 + 0.1) - 0.5
    torch.testing.assert_close(doubts[0], 2 * torch.sigmoid(divergence) - 1)
