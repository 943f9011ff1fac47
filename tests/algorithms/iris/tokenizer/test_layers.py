"""Layers against their definitions, written plainly."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from rlsys.algorithms.iris.tokenizer.layers import Double, Halve, PixelAttention, ResidualBlock, group_norm, swish


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("num_channels", "num_groups"), [(64, 32), (48, 24), (8, 8), (37, 1), (512, 32)])
def test_groups_divide_the_channels(num_channels: int, num_groups: int) -> None:
    assert group_norm(num_channels).num_groups == num_groups


def test_swish_is_done_in_place_only_where_no_gradient_needs_what_was_there() -> None:
    plain, learned = torch.randn(4), torch.randn(4, requires_grad=True)
    before = plain.clone()
    assert swish(plain) is plain
    torch.testing.assert_close(plain, before * before.sigmoid())
    assert swish(learned) is not learned


@pytest.mark.parametrize(("num_in", "num_out"), [(4, 4), (4, 6)])
def test_a_residual_block_is_what_it_is_written_as(num_in: int, num_out: int) -> None:
    block, x = ResidualBlock(num_in, num_out, dropout=0.0), torch.randn(2, num_in, 4, 6)
    for norm in (block.norm1, block.norm2):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    hidden = block.conv1(functional.silu(block.norm1(x)))
    expected = block.conv2(functional.silu(block.norm2(hidden))) + block.skip(x)
    given = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(block(given), expected.detach())
    torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(given, x), "what is given is left as it is"
    assert isinstance(block.skip, nn.Identity) == (num_in == num_out)


def test_what_a_residual_block_forgets_is_not_forgotten_in_evaluations() -> None:
    block, x = ResidualBlock(4, 4, dropout=0.5), torch.randn(1, 4, 4, 4)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_attention_weighs_pixels_by_the_softmax_of_products() -> None:
    attention, x = PixelAttention(4), torch.randn(2, 4, 3, 2)
    pixels = attention.norm(x).movedim(1, -1).reshape(2, 6, 4)
    q, k, v = attention.qkv(pixels).split(4, dim=-1)
    weights = torch.softmax(torch.einsum("npc,nrc->npr", q, k) / 4**0.5, dim=-1)
    seen = attention.out(torch.einsum("npr,nrc->npc", weights, v)).view(2, 3, 2, 4).movedim(-1, 1)
    torch.testing.assert_close(attention(x), x + seen)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(attention(last), x + seen)
    assert attention(last).is_contiguous(memory_format=torch.channels_last)


def test_halving_sees_nothing_at_the_right_and_below() -> None:
    halve, x = Halve(3), torch.randn(1, 3, 4, 6)
    padded = torch.zeros(1, 3, 5, 7)
    padded[:, :, :4, :6] = x
    expected = torch.einsum("nciab,ocab->noi", padded.unfold(2, 3, 2).unfold(3, 3, 2).flatten(2, 3), halve.conv.weight)
    assert halve.conv.bias is not None
    torch.testing.assert_close(halve(x), (expected + halve.conv.bias[:, None]).view(1, 3, 2, 3))


def test_doubling_repeats_pixels() -> None:
    double, x = Double(3), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(double(x), double.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3)))
