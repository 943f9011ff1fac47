"""Observations of parts: each is seen by its kind, and alone decides what is said of it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlsys.nets.observations.encoder import PartsEncoder
from rlsys.nets.transfer import to_device
from rlsys.types import Array, ArraySpec, EnvSpec, Part

CPU = torch.device("cpu")
RECORD = np.dtype([("arm/angle", "<f8", (2,)), ("image", "u1", (20, 24, 3)), ("flag", "i1"), ("cards", "<i8", (2,))])
PARTS = (
    Part("arm/angle", ArraySpec((2,), "float64")),
    Part("image", ArraySpec((20, 24, 3), "uint8")),
    Part("flag", ArraySpec((), "int8"), (2,)),
    Part("cards", ArraySpec((2,), "int64"), (4, 5)),
)


class Mean(nn.Module):
    """Sees the mean of each channel of a picture."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.mean(dim=(2, 3))


def make_env(num_stack: int = 1) -> EnvSpec:
    action = ArraySpec((), "int64")
    return EnvSpec("x", ArraySpec((), RECORD), action, num_actions=2, num_stack=num_stack, parts=PARTS)


def make_records(*shape: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    records = np.zeros(shape, RECORD)
    records["arm/angle"] = rng.normal(size=(*shape, 2))
    records["image"] = rng.integers(0, 256, (*shape, 20, 24, 3))
    records["flag"] = rng.integers(0, 2, shape)
    records["cards"] = rng.integers(0, 4, (*shape, 2))
    return records


def make_encoder(env: EnvSpec, **options: Any) -> PartsEncoder:
    torch.manual_seed(0)
    defaults = {"make_stem": lambda shape: (Mean(), shape[0]), "smallest_image": 16, "normalizes": False}
    return PartsEncoder(env, 8, **(defaults | options))


def test_records_travel_as_their_bytes() -> None:
    records = make_records(3, 4)
    tensor = to_device(records, CPU)
    assert tensor.shape == (3, 4, RECORD.itemsize)
    assert tensor[1, 2].numpy().tobytes() == records[1, 2].tobytes()
    assert to_device(records[:, ::2], CPU)[1, 1].numpy().tobytes() == records[1, 2].tobytes()


def test_each_part_is_seen_by_its_kind() -> None:
    records, encoder = make_records(5), make_encoder(make_env())
    assert encoder.num_features == 8 + 3 + 8 + 8
    angle, image, flag, cards = encoder(to_device(records, CPU)).split([8, 3, 8, 8], dim=1)
    dense, vectors = encoder.parts[0].dense, (encoder.parts[2].vectors, encoder.parts[3].vectors)
    torch.testing.assert_close(angle, torch.tanh(dense(torch.from_numpy(records["arm/angle"].astype(np.float32)))))
    expected = records["image"].astype(np.float64).mean(axis=(1, 2)) / 255.0
    np.testing.assert_allclose(image.detach().numpy(), expected, rtol=1e-5)
    torch.testing.assert_close(flag, torch.tanh(vectors[0][records["flag"].astype(int)]))
    codes = np.concatenate([np.eye(4)[records["cards"][:, 0]], np.eye(5)[records["cards"][:, 1]]], axis=1)
    torch.testing.assert_close(cards, torch.tanh(torch.from_numpy(codes).float() @ vectors[1]))


def test_a_single_record_is_seen_like_one_of_many() -> None:
    records, encoder = make_records(5), make_encoder(make_env())
    alone = torch.cat([encoder(to_device(records[row : row + 1], CPU)) for row in range(5)])
    torch.testing.assert_close(alone, encoder(to_device(records, CPU)))


def test_a_stack_of_records_has_the_frames_of_each_part() -> None:
    env = make_env(num_stack=2)
    records, encoder = make_records(5, 2), make_encoder(env)
    assert encoder.num_features == 8 + 6 + 8 + 8
    features = encoder(to_device(records, CPU).flatten(start_dim=1))
    expected = records["image"].astype(np.float64).mean(axis=(2, 3)).reshape(5, 6) / 255.0
    np.testing.assert_allclose(features[:, 8:14].detach().numpy(), expected, rtol=1e-5)
    swapped = encoder(to_device(records[:, ::-1], CPU))
    assert not torch.allclose(features, swapped)


def test_integers_are_an_observation_by_themselves() -> None:
    integer = ArraySpec((), "int64")
    env = EnvSpec("x", integer, integer, num_actions=2, parts=(Part("", integer, (500,)),))
    encoder = make_encoder(env)
    assert encoder.num_features == 8
    features = encoder(torch.tensor([3, 499, 3]))
    torch.testing.assert_close(features, torch.tanh(encoder.parts[0].vectors[[3, 499, 3]]))


def test_numbers_are_normalised_and_nothing_else() -> None:
    encoder = make_encoder(make_env(), normalizes=True)
    records = make_records(50)
    records["arm/angle"] = records["arm/angle"] * 7.0 + 100.0
    encoder.update(to_device(records, CPU), lambda tensors: None)
    buffers = dict(encoder.named_buffers())
    kept = {name for name in encoder.state_dict() if name in buffers}
    assert kept == {f"parts.0.moments.{name}" for name in ("mean", "variance", "count")}
    np.testing.assert_allclose(buffers["parts.0.moments.mean"], records["arm/angle"].mean(axis=0), rtol=1e-5)
    angle = (records["arm/angle"] - records["arm/angle"].mean(axis=0)) / records["arm/angle"].std(axis=0)
    expected = torch.tanh(encoder.parts[0].dense(torch.from_numpy(angle).float()))
    torch.testing.assert_close(encoder(to_device(records, CPU))[:, :8], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("smallest", [21, None])
def test_pictures_that_are_too_small_are_numbers(smallest: int | None) -> None:
    encoder = make_encoder(make_env(), smallest_image=smallest)
    assert encoder.num_features == 4 * 8
    assert encoder.parts[1].dense.weight.shape == (8, 20 * 24 * 3)
