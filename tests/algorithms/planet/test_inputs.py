"""Bytes, numbers and actions as the model knows them."""

import numpy as np
import pytest
import torch

from rlsys.algorithms.planet.inputs import Actions, Pictures, Vectors, make_inputs
from rlsys.algorithms.planet.seen import seen_part, told_parts
from rlsys.types import ArraySpec, EnvSpec, Part

CPU = torch.device("cpu")


def env(observation: ArraySpec, **more: object) -> EnvSpec:
    given = {"action": ArraySpec((), "int64"), "num_actions": 3, **more}
    return EnvSpec(id="task", observation=observation, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_bytes_become_so_many_levels_between_minus_and_plus_a_half(bits: int) -> None:
    pictures = Pictures(Part("", ArraySpec((16, 16), "uint8")), bits)
    shown = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    middle = pictures.prepare(shown)
    assert len(middle.unique()) == 2**bits
    assert (middle.min(), middle.max()) == (-0.5 + 0.5 / 2**bits, 0.5 - 0.5 / 2**bits)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([pictures.prepare(shown, generator) for _ in range(200)])
    assert drawn.min() >= -0.5 and drawn.max() < 0.5 + 1e-6
    away = (drawn - middle) * 2**bits
    assert -0.5 - 1e-4 <= away.min() < -0.499 and 0.499 < away.max() <= 0.5 + 1e-4
    assert away.std() == pytest.approx(12**-0.5, rel=0.01)


@pytest.mark.parametrize("bits", [1, 5, 8])
@pytest.mark.parametrize(
    "part",
    [
        Part("", ArraySpec((16, 12), "uint8")),
        Part("", ArraySpec((3, 16, 12), "uint8")),
        Part("pixels", ArraySpec((16, 12, 3), "uint8")),
    ],
)
def test_what_is_prepared_is_shown_again_to_within_a_step(part: Part, bits: int) -> None:
    rng = np.random.default_rng(0)
    shown = torch.from_numpy(rng.integers(0, 256, (2, 5, *part.spec.shape), dtype=np.uint8))
    pictures = Pictures(part, bits)
    prepared = pictures.prepare(shown)
    assert prepared.shape == (2, 5, *pictures.shape)
    again = pictures.show(prepared)
    assert again.shape == shown.shape and again.dtype == torch.uint8
    assert (again.int() - shown.int()).abs().max() < 2 ** (8 - bits)


def test_numbers_are_rescaled_by_the_bounds_that_are_known() -> None:
    spec = ArraySpec((2, 2), "float32")
    known = env(spec, observation_low=(-2.0,), observation_high=(2.0,))
    vectors = make_inputs(known, 5)
    assert isinstance(vectors, Vectors)
    shown = torch.tensor([[[-2.0, 0.0], [1.0, 2.0]]])
    torch.testing.assert_close(vectors.prepare(shown), torch.tensor([[0.0, 0.5, 0.75, 1.0]]))
    torch.testing.assert_close(vectors.show(vectors.prepare(shown)), shown)
    plain = make_inputs(env(spec), 5)
    torch.testing.assert_close(plain.prepare(shown), shown.reshape(1, 4))


def test_bounded_numbers_are_within_one_and_come_back() -> None:
    bounds = {
        "num_actions": 0,
        "action": ArraySpec((2,), "float32"),
        "action_low": (-2.0, 0.0),
        "action_high": (2.0, 1.0),
    }
    actions = Actions(env(ArraySpec((4,), "float32"), **bounds), CPU)
    raw = np.array([[-2.0, 0.0], [0.0, 0.5], [2.0, 1.0]], np.float32)
    torch.testing.assert_close(actions.read(raw), torch.tensor([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(actions.decode(actions.read(raw)), raw)
    assert actions.decode(actions.read(raw)).dtype == np.float32


def test_choices_are_one_hot_and_come_back() -> None:
    actions = Actions(env(ArraySpec((4,), "float32")), CPU)
    raw = np.array([[2, 0], [1, 1]])
    assert actions.read(raw).tolist() == [[[0, 0, 1], [1, 0, 0]], [[0, 1, 0], [0, 1, 0]]]
    assert actions.decode(actions.read(raw[0])).tolist() == [2, 0]


def test_the_only_picture_is_seen_and_the_rest_is_told() -> None:
    parts = (
        Part("position", ArraySpec((2,), "float32")),
        Part("pixels", ArraySpec((3, 16, 16), "uint8")),
        Part("velocity", ArraySpec((2,), "float32")),
    )
    record = np.dtype([(part.name, part.spec.dtype, part.spec.shape) for part in parts])
    both = env(ArraySpec((), record), parts=parts)
    assert seen_part(both) == parts[1]
    assert told_parts(both) == (parts[0], parts[2])
    alone = env(ArraySpec((3, 16, 16), "uint8"))
    assert seen_part(alone) == alone.parts[0] and told_parts(alone) == ()
