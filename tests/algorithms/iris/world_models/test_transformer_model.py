from collections.abc import Callable
from typing import Any

import pytest
import torch
from algorithms.iris.world_models.tiny_models import CPU, SIZES, batch, make
from torch import Tensor

from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.interface import Sizes
from rlsys.algorithms.iris.world_models.transformer_model import Transformer

KIND = pytest.mark.parametrize("kind", ["transformer", "parallel", "block_causal"])


def watched(model: Any) -> list[Tensor]:
    """Logits of all tokens that are drawn from now on."""
    seen: list[Tensor] = []
    model._inference_network().token.register_forward_hook(lambda _, given, out: seen.append(out))
    return seen


def imagined(model: Any, num_observed: int, num_steps: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Frames and actions, seen and imagined, and the logits of each token that was drawn."""
    known = batch(2, num_observed + num_steps)
    frames, action = list(known["tokens_BLK"][:, :num_observed].unbind(1)), known["action_BL"]
    memory = model.begin(2, CPU)
    logits = watched(model)
    model.observe_many(memory, torch.stack(frames, 1), action[:, : num_observed - 1])
    for step in range(num_observed - 1, num_observed + num_steps - 1):
        frames.append(model.imagine(memory, action[:, step]).tokens)
    shape = (2, num_steps, SIZES.tokens, SIZES.vocabulary)
    return torch.stack(frames, 1), action, list(torch.stack(logits, 1).reshape(shape).unbind(1))


@KIND
def test_what_is_kept_gives_what_the_whole_sequence_does(kind: str) -> None:
    model = make(kind, max_blocks=6).eval()
    frames, action, logits = imagined(model, num_observed=2, num_steps=4)
    foretold = model.foretell(frames, action).token
    by_frame = foretold[:, -4 * SIZES.tokens :].view(2, 4, SIZES.tokens, SIZES.vocabulary)
    torch.testing.assert_close(torch.stack(logits, 1), by_frame, atol=1e-5, rtol=1e-4)


@KIND
@pytest.mark.parametrize("dropped_blocks", [1, 2, 3])
def test_a_window_that_slides_is_exactly_the_last_blocks(kind: str, dropped_blocks: int) -> None:
    max_blocks = 4
    model = make(kind, max_blocks=max_blocks, dropped_blocks=dropped_blocks).eval()
    frames, action, logits = imagined(model, num_observed=1, num_steps=9)
    num_kept = 1
    for step in range(1, 10):  # the frame that is foretold
        num_kept = num_kept + 1 if num_kept < max_blocks else num_kept + 1 - dropped_blocks
        window = slice(step - num_kept + 1, step + 1)
        foretold = model.foretell(frames[:, window], action[:, window]).token[:, -SIZES.tokens :]
        torch.testing.assert_close(logits[step - 1], foretold, atol=1e-5, rtol=1e-4)


@KIND
def test_a_longer_history_than_fits_is_its_end(kind: str) -> None:
    model = make(kind, temperature=0.0)
    known = batch(2, 9)
    whole, end = model.begin(2, CPU), model.begin(2, CPU)
    model.observe_many(whole, known["tokens_BLK"], known["action_BL"][:, :-1])
    model.observe_many(end, known["tokens_BLK"][:, -4:], known["action_BL"][:, -4:-1])
    assert whole.known == end.known
    steps = [
        model.imagine(memory, known["action_BL"][:, -1], torch.Generator().manual_seed(0)) for memory in (whole, end)
    ]
    torch.testing.assert_close(steps[0], steps[1])


def test_twenty_steps_fill_upstream_s_context_exactly() -> None:
    torch.manual_seed(0)
    model = Transformer(WorldModelConfig(layers=1, width=8, heads=1), Sizes())
    memory = model.begin(1, CPU)
    model.observe(memory, torch.zeros(1, 16, dtype=torch.int64))
    passes: Callable[..., Tensor] = model._pass
    lengths = []

    def counted(*arguments: Any, **options: Any) -> Tensor:
        seen = passes(*arguments, **options)
        lengths.append(seen.shape[1])
        return seen

    model._pass = counted  # type: ignore[method-assign]
    for step in range(20):
        model.imagine(memory, torch.zeros(1, dtype=torch.int64), next_frame=step < 19)
    assert memory.known == memory.fed == 340 == sum(lengths), "nothing was seen twice"
    assert len(lengths) == 19 * 16 + 1, "a frame's last token is seen together with the action"


def test_a_frame_in_parallel_is_one_pass() -> None:
    model = make("parallel")
    memory, calls = model.begin(2, CPU), []
    model._inference_network().trunk.register_forward_hook(lambda _, given, out: calls.append(out.shape[1]))
    model.observe(memory, torch.zeros(2, SIZES.tokens, dtype=torch.int64))
    for _ in range(3):
        model.imagine(memory, torch.zeros(2, dtype=torch.int64))
    assert calls == [SIZES.block + SIZES.tokens] * 3


def test_keys_and_values_stay_where_they_are() -> None:
    model = make()
    memory = model.begin(2, CPU)
    where = {name: tensor.data_ptr() for name, tensor in memory.tensors.items()}
    model.observe(memory, torch.zeros(2, SIZES.tokens, dtype=torch.int64))
    for _ in range(6):
        model.imagine(memory, torch.zeros(2, dtype=torch.int64))
    assert where == {name: tensor.data_ptr() for name, tensor in memory.tensors.items()}


def test_no_token_is_foretold_from_itself_or_later_ones() -> None:
    for kind in ("transformer", "parallel", "block_causal"):
        model, known = make(kind).eval(), batch(1, 3)
        changed = known["tokens_BLK"].clone()
        changed[:, -1, -1] = (changed[:, -1, -1] + 1) % SIZES.vocabulary
        before = model.foretell(known["tokens_BLK"], known["action_BL"]).token
        after = model.foretell(changed, known["action_BL"]).token
        torch.testing.assert_close(after, before)
