"""Tokens of what is new in a frame: what they are given, and that they learn what a frame and an action do not tell."""

import torch
from torch import Tensor

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.losses import TokenizerModel
from rlsys.algorithms.iris.tokenizer.tokenizer import Before, Tokenizer

SETTINGS = {
    "vocabulary_size": 8,
    "embedding_size": 6,
    "z_channels": 5,
    "channels": 4,
    "channel_multipliers": (1, 2),
    "residual_blocks": 1,
    "attention_resolutions": (),
    "patch": 2,
    "deltas": True,
}
SHAPE, ACTIONS = (1, 8, 12), 3


def tokenizer(**changes: object) -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(TokenizerConfig.model_validate({**SETTINGS, **changes}), SHAPE, ACTIONS).eval()


def frames(length: int) -> Tensor:
    return torch.randint(256, (2, length, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def actions(length: int) -> Tensor:
    return torch.randint(ACTIONS, (2, length), generator=torch.Generator().manual_seed(2))


def test_a_patch_is_one_token() -> None:
    made = tokenizer(deltas=False)
    assert (made.map_size, made.num_tokens) == ((2, 3), 6)
    tokens = made.encode(frames(3))
    assert tokens.shape == (2, 3, 6)
    assert made.decode_tokens(tokens).shape == (2, 3, *SHAPE)


def test_tokens_depend_on_the_frame_and_the_action_before() -> None:
    made, seen, done = tokenizer(), frames(4), actions(3)
    tokens = made.encode(seen, done)
    assert (tokens.shape, tokens.dtype) == ((2, 4, 6), torch.int64)
    assert not tokens[:, 0].any(), "nothing is known of what came before"
    for step in range(1, 4):
        torch.testing.assert_close(
            made.encode(seen[:, step - 1 : step + 1], done[:, step - 1 :])[:, 1], tokens[:, step]
        )
    encoded = made._encode(torch.zeros(1, *SHAPE), Before(torch.zeros(1, *SHAPE), torch.tensor([0])))
    for before in (Before(torch.ones(1, *SHAPE), torch.tensor([0])), Before(torch.zeros(1, *SHAPE), torch.tensor([2]))):
        assert not torch.allclose(made._encode(torch.zeros(1, *SHAPE), before), encoded)


def test_a_frame_is_drawn_into_the_one_before() -> None:
    made, seen, done = tokenizer(), frames(3), actions(2)
    shown = made.reconstruct(seen, done)
    torch.testing.assert_close(shown[:, 0], seen[:, 0] / 255)
    tokens = made.encode(seen, done)
    torch.testing.assert_close(shown[:, 2], made.decode_tokens(tokens[:, 2], Before(seen[:, 1], done[:, 1])))
    other = made.decode_tokens(tokens[:, 2], Before(seen[:, 0], done[:, 1]))
    assert not torch.allclose(shown[:, 2], other)
    torch.testing.assert_close(made.reconstruct(seen[:, :1]), seen[:, :1] / 255)


def test_they_leave_out_what_is_known_already() -> None:
    """Frames of noise that move by the action: known from the frame before, too much for six tokens of eight."""
    assert learned(deltas=True) < 0.85 * learned(deltas=False)


def learned(*, deltas: bool) -> float:
    """The distance from reconstructions after a short training."""
    torch.manual_seed(0)
    model = TokenizerModel(TokenizerConfig.model_validate({**SETTINGS, "deltas": deltas}), SHAPE, ACTIONS)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(80):
        before = torch.rand(8, *SHAPE, generator=generator).round()
        action = torch.randint(ACTIONS, (8,), generator=generator)
        after = torch.stack([torch.roll(frame, int(by) - 1, dims=-1) for frame, by in zip(before, action, strict=True)])
        found = model(after, None, Before(before, action))
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
        losses.append(found.parts["reconstruction_loss"].item())
    return sum(losses[-10:]) / 10
