"""Steps that can be traced are those of the models, however far a memory is."""

from typing import Any

import pytest
import torch
from algorithms.iris.world_models.tiny_models import CPU, KINDS, SIZES, batch, make

CASES = [(kind, {}) for kind in KINDS] + [
    ("transformer", {"dropped_blocks": 3, "rewards": "two_hot"}),
    ("block_causal", {"dropped_blocks": 2, "temperature": 0.0}),
]


@pytest.mark.parametrize(("kind", "settings"), CASES)
@torch.no_grad()
def test_traced_steps_are_the_models_own(kind: str, settings: dict[str, Any]) -> None:
    model = make(kind, **settings).eval()
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    known, action = batch(1, 2)["tokens_BLK"], batch(1, 12)["action_BL"]
    memory = model.begin(1, CPU)
    model.observe_many(memory, known, action[:, :1])
    traced, expected = model.traced(), memory.state()
    given = {name: part.clone() for name, part in expected.items()}
    state = given if traced.renew is None else traced.renew(given)
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    num_renewed = 0
    for action_B in action[:, 1:].unbind(1):
        if traced.renew is not None and state["known"] > traced.most_known:
            state, num_renewed = traced.renew(state), num_renewed + 1
        before = {name: part.clone() for name, part in state.items()}
        after, imagined = traced.step(state, action_B, first)
        expected, due = model.step(expected, action_B, second)
        torch.testing.assert_close(state, before, rtol=0, atol=0)
        assert imagined.tokens is not None and due.tokens is not None
        assert imagined.tokens.tolist() == due.tokens.tolist()
        assert imagined.terminated.tolist() == due.terminated.tolist()
        torch.testing.assert_close(imagined.reward, due.reward, rtol=1e-4, atol=1e-5)
        assert [int(after[name]) for name in ("known", "fed")] == [int(expected[name]) for name in ("known", "fed")]
        assert {name: (part.shape, part.dtype) for name, part in after.items()} == {
            name: (part.shape, part.dtype) for name, part in expected.items()
        }
        state = after
    assert bool(num_renewed) == (traced.renew is not None), f"{SIZES.block * 12} tokens fill a memory"
