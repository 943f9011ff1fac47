"""Frames to tokens and back: upstream's size, shapes, layouts and ranges."""

import pytest
import torch

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.tokenizer import Tokenizer, prepare
from rlsys.errors import ConfigError

SMALL = TokenizerConfig(
    vocabulary_size=16,
    embedding_size=6,
    z_channels=5,
    channels=4,
    channel_multipliers=(1, 2),
    residual_blocks=1,
    attention_resolutions=(4,),
)
SHAPE = (3, 8, 12)


def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    made = Tokenizer(SMALL, SHAPE)
    with torch.no_grad():
        made.quantizer.codes.normal_()
    return made


def frames(*leading: int) -> torch.Tensor:
    return torch.randint(0, 256, (*leading, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_its_size_is_upstreams() -> None:
    with torch.device("meta"):
        made = Tokenizer(TokenizerConfig(), (3, 64, 64))
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in made.named_children()}
    assert sizes["before_codes"] + sizes["after_codes"] == 525_312
    assert sizes["quantizer"] == 262_144
    assert sum(sizes.values()) == 4_027_523
    assert (made.map_size, made.num_tokens) == ((4, 4), 16)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_leading_axes_are_arbitrary(leading: tuple[int, ...]) -> None:
    made, seen = tokenizer(), frames(*leading)
    tokens = made.encode(seen)
    assert (tokens.shape, tokens.dtype) == ((*leading, 24), torch.int64)
    assert made.embed(tokens).shape == (*leading, 24, 6)
    drawn = made.decode_tokens(tokens)
    assert (drawn.shape, drawn.dtype) == ((*leading, *SHAPE), torch.float32)
    if leading:
        torch.testing.assert_close(made.encode(seen[0]), tokens[0])
        torch.testing.assert_close(made.decode_tokens(tokens[0]), drawn[0])
    torch.testing.assert_close(made.reconstruct(seen), drawn)


def test_bytes_and_shares_are_the_same_frames() -> None:
    seen = frames(2)
    torch.testing.assert_close(prepare(seen), prepare(seen / 255))
    assert prepare(seen).amin() == -1.0 and prepare(seen).amax() == 1.0
    assert torch.equal(tokenizer().encode(seen), tokenizer().encode(seen / 255))


def test_what_is_given_is_left_as_it_is() -> None:
    seen = frames(2) / 255
    before = seen.clone()
    tokenizer().encode(seen)
    tokenizer()(seen)
    assert torch.equal(seen, before)


def test_frames_are_drawn_within_their_range_and_without_gradients() -> None:
    made = tokenizer()
    embedded = (50 * torch.randn(2, 24, 6)).requires_grad_()
    drawn = made.decode(embedded)
    assert not drawn.requires_grad and not made.embed(made.encode(frames(1))).requires_grad
    assert drawn.amin() == 0.0 and drawn.amax() == 1.0
    unbounded = made._decode(embedded, None).detach()
    torch.testing.assert_close(drawn, ((unbounded + 1) / 2).clamp(0, 1))


def test_tokens_are_read_row_by_row() -> None:
    made, seen = tokenizer(), frames(1)
    maps = made.encoder(prepare(seen))
    encoded = torch.stack([made.before_codes(maps[0, :, row, column]) for row in range(4) for column in range(6)])
    torch.testing.assert_close(made(seen).encoded[0], encoded)


def test_what_is_learned_from_is_what_others_are_told() -> None:
    made, seen = tokenizer(), frames(2, 2)
    learned = made(seen)
    torch.testing.assert_close(learned.quantized.tokens, made.encode(seen).flatten(end_dim=1))
    torch.testing.assert_close(((learned.decoded + 1) / 2).clamp(0, 1), made.reconstruct(seen).flatten(end_dim=1))


def test_frames_lie_channels_last_in_the_networks_but_not_to_learn() -> None:
    made = tokenizer()
    for kind in (torch.contiguous_format, torch.channels_last):
        with torch.set_grad_enabled(kind == torch.contiguous_format):
            seen = made(frames(2))
        assert seen.frames.is_contiguous(memory_format=kind)
        assert seen.decoded.is_contiguous(memory_format=kind)
    torch.testing.assert_close(seen.decoded, made(frames(2)).decoded, rtol=1e-4, atol=1e-4)


def test_products_of_16_bits_draw_nearly_the_same() -> None:
    made, seen = tokenizer(), frames(4)
    tokens = made.encode(seen)
    with torch.autocast("cpu", torch.bfloat16):
        assert (made.encode(seen) == tokens).float().mean() > 0.9
        rounded = made.decode_tokens(tokens)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, made.decode_tokens(tokens), rtol=0.0, atol=0.03)


def test_frames_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ConfigError, match="frames of 7 × 8"):
        Tokenizer(SMALL, (3, 7, 8))
