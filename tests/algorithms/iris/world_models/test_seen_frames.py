"""A transformer that sees with each action the frame in which it was done: what is kept of it, and what changes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from algorithms.iris.world_models.tiny_models import CPU, SIZES, batch, tiny
from torch import Tensor

from rlsys.algorithms.iris.world_models.make import make_world_model

SEEING = replace(SIZES, frame=(1, 6, 8))
KIND = pytest.mark.parametrize("kind", ["transformer", "parallel", "block_causal"])


def make(kind: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = make_world_model(tiny(kind, frame_channels=(4, 4), **settings), SEEING).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def known(num_blocks: int, size: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    frames = torch.randint(256, (size, num_blocks, 1, 6, 8), dtype=torch.uint8, generator=generator)
    return {**batch(size, num_blocks), "frames": frames}


@KIND
@pytest.mark.parametrize("dropped_blocks", [1, 2])
def test_a_memory_gives_what_the_last_blocks_do(kind: str, dropped_blocks: int) -> None:
    model, given = make(kind, dropped_blocks=dropped_blocks), known(9)
    tokens, action, frames = (given[name] for name in ("tokens_BLK", "action_BL", "frames"))
    memory, logits = model.begin(2, CPU), []
    model._inference_network().reward.register_forward_hook(lambda _, given, out: logits.append(out))
    num_kept = 1
    model.observe(memory, tokens[:, 0])
    for step in range(8):
        model.imagine(memory, action[:, step], frame=frames[:, step], next_frame=False)
        window = slice(step - num_kept + 1, step + 1)
        foretold = model.foretell(tokens[:, window], action[:, window], frames[:, window])
        torch.testing.assert_close(logits[step], foretold.reward[:, -1], atol=1e-5, rtol=1e-4)
        model.observe(memory, tokens[:, step + 1])
        num_kept = num_kept + 1 if num_kept < 4 else num_kept + 1 - dropped_blocks


@KIND
def test_frames_change_what_is_foretold_after_them_alone(kind: str) -> None:
    model, given = make(kind), known(4)
    arguments = (given["tokens_BLK"], given["action_BL"])
    changed = given["frames"].clone()
    changed[:, 2] = 255 - changed[:, 2]
    before, after = (model.foretell(*arguments, frames) for frames in (given["frames"], changed))
    assert before.token.shape == (2, 3 * SIZES.tokens, SIZES.vocabulary), "tokens of first frames say nothing"
    by_frame = [part.token.unflatten(1, (3, SIZES.tokens)) for part in (before, after)]
    torch.testing.assert_close(by_frame[0][:, :2], by_frame[1][:, :2])
    assert not torch.allclose(by_frame[0][:, 2], by_frame[1][:, 2])
    torch.testing.assert_close(before.reward[:, :2], after.reward[:, :2])
    assert not torch.allclose(before.reward[:, 2], after.reward[:, 2])


@KIND
def test_blocks_that_do_not_exist_change_nothing(kind: str) -> None:
    model, given = make(kind), known(3)
    padded = {name: torch.cat([part, part[:, :1]], dim=1) for name, part in given.items()}
    padded["mask_BL"][:, -1] = False
    torch.testing.assert_close(model.losses(**padded), model.losses(**given))
    torch.testing.assert_close(model.metrics(**padded), model.metrics(**given))


@KIND
@torch.no_grad()
def test_traced_steps_are_the_models_own(kind: str) -> None:
    model, given = make(kind, dropped_blocks=2), known(12, size=1)
    tokens, action, frames = (given[name] for name in ("tokens_BLK", "action_BL", "frames"))
    memory = model.begin(1, CPU)
    model.observe_many(memory, tokens[:, :2], action[:, :1], frames[:, :2])
    traced, expected = model.traced(), memory.state()
    state = traced.renew({name: part.clone() for name, part in expected.items()})
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    num_renewed = 0
    for step in range(1, 12):
        if state["known"] > traced.most_known:
            state, num_renewed = traced.renew(state), num_renewed + 1
        state, imagined = traced.step(state, action[:, step], first, frames[:, step])
        expected, due = model.step(expected, action[:, step], second, frames[:, step])
        assert imagined.tokens.tolist() == due.tokens.tolist()
        torch.testing.assert_close(imagined.reward, due.reward, rtol=1e-4, atol=1e-5)
        assert {name: (part.shape, part.dtype) for name, part in state.items()} == {
            name: (part.shape, part.dtype) for name, part in expected.items()
        }
        num_blocks = int(state["known"]) // SIZES.block
        torch.testing.assert_close(state["looked"][:, :num_blocks], expected["looked"][:, :num_blocks])
    assert num_renewed
