"""The layers of the next-frame models, and what they begin with, against the specification and torch's own."""

import math

import numpy as np
import pytest
import torch

from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.layers import ActionEmbedding, ChannelNorm, LSTMCell, belu, make_even, standardize
from rlsys.algorithms.simple.networks import WorldModel


def test_layers_are_as_specified() -> None:
    image = torch.rand(2, 3, 5, 7) * 255
    standard = standardize(image)
    np.testing.assert_allclose(standard.mean(dim=(2, 3)), np.zeros((2, 3)), atol=1e-5)
    np.testing.assert_allclose(standard.std(dim=(2, 3), correction=0), np.ones((2, 3)), rtol=1e-4)
    assert (standardize(torch.full((1, 1, 4, 4), 7.0)) == 0).all()
    assert make_even(image).shape == (2, 3, 6, 8)
    x = torch.linspace(-2, 2, 12).view(1, 4, 1, 3)
    expected = torch.stack([torch.nn.functional.elu(x[:, c]) * 1.0 for c in range(4)], dim=1)
    assert torch.equal(belu(x)[:, ::2], expected[:, ::2])
    assert torch.allclose(belu(x)[:, 1::2], -torch.nn.functional.elu(-x[:, 1::2]))
    embedding = ActionEmbedding(5, 16)(torch.arange(5))
    assert (embedding[0] == 0).all()
    assert (embedding[1:] != 0).any(dim=1).all()
    normalized = ChannelNorm(3)(image)
    np.testing.assert_allclose(normalized.mean(dim=1).detach(), np.zeros((2, 5, 7)), atol=1e-5)


def test_each_kernel_is_drawn_in_the_range_of_its_own_fans() -> None:
    network = WorldModel(WorldModelConfig(hidden_size=24, num_compress_steps=3), 3, (24, 16), 6)
    layers = dict(network.named_modules())
    inputs = 24 * 8 * 3 * 2
    drawn = {  # inputs and outputs of tensor2tensor's kernels, with those of a place counted for each place
        "embed": (3 + 64, 24),
        "gate": (9 * (3 + 64), 9 * 2 * 64),
        "inject._scale": (24, 24 * 8),
        "inject._shift": (24, 24 * 8),
        "up.0.inject._scale": (24, 24 * 8),
        "up.0.conv": (16 * 24 * 8, 16 * 24 * 4),
        "latents.posterior._inject._shift": (24, 24),
        "latents.posterior._first": (64 * 24, 64 * 128),
        "latents.add._inject._scale": (128, 24 * 8),
        "latents.add._inject._shift": (128, 24 * 8),
        "latents.predictor._begin.0": (inputs, 128),
        "latents.predictor._begin.2": (inputs, 128),
        "latents.predictor._cell._gates": (128 + 128, 4 * 128),
        "latents.predictor._embed": (256, 128),
        "pixels": (24, 3 * 256),
    }
    for name, fans in drawn.items():
        limit = math.sqrt(3 * 1.3 / (sum(fans) / 2))
        weight = layers[name].weight.detach()
        assert weight.abs().max() == pytest.approx(limit, rel=0.02), name
        assert weight.std() == pytest.approx(limit / math.sqrt(3), rel=0.05), name
        if name != "embed":
            assert not layers[name].bias.any(), name


def test_an_lstm_step_is_torchs_with_an_open_forget_gate() -> None:
    torch.manual_seed(0)
    ours, theirs = LSTMCell(3, 4), torch.nn.LSTMCell(3, 4)
    weight, bias = ours._gates.weight.data, ours._gates.bias.data
    order = [0, 2, 1, 3]  # torch's: admit, forget, candidate, show
    torch_weight = weight.view(4, 4, 7)[order]
    torch_bias = bias.view(4, 4)[order].clone()
    torch_bias[1] += 1.0
    theirs.weight_ih.data, theirs.weight_hh.data = (
        torch_weight[..., :3].reshape(16, 3),
        torch_weight[..., 3:].reshape(16, 4),
    )
    theirs.bias_ih.data, theirs.bias_hh.data = torch_bias.flatten(), torch.zeros(16)
    x, hidden, cell = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 4)
    torch.testing.assert_close(ours(x, hidden, cell), theirs(x, (hidden, cell)))
