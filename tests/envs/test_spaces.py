"""Every space of gymnasium's as arrays that can be described."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.simulator import ArraySimulator, SimulatorEnv
from rlsys.envs.spaces import Actions, ArraySpaces, Observations
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import EnvError
from rlsys.types import Array, ArraySpec, EnvSpec, Part

SPECS = {
    "rlsys/Parts-v0": (Part("clock", ArraySpec((2,), "float32")), Part("picture", ArraySpec((18, 18), "uint8"))),
    "rlsys/Nested-v0": (
        Part("arm/angle", ArraySpec((2,), "float32")),
        Part("arm/length", ArraySpec((), "float64")),
        Part("buttons", ArraySpec((3,), "int8"), (2, 2, 2)),
    ),
    "rlsys/Tuple-v0": (
        Part("0", ArraySpec((), "int64"), (3,)),
        Part("1", ArraySpec((2,), "int64"), (26, 2)),
        Part("2", ArraySpec((2,), "float32")),
    ),
    "rlsys/Start-v0": (Part("", ArraySpec((), "int64"), (3,)),),
    "rlsys/Choices-v0": (Part("", ArraySpec((3,), "float32")),),
    "Taxi-v3": (Part("", ArraySpec((), "int64"), (500,)),),
    "Blackjack-v1": tuple(Part(str(index), ArraySpec((), "int64"), (n,)) for index, n in enumerate((32, 11, 2))),
}


@pytest.mark.parametrize("name", SPECS)
def test_parts_are_named_flat_and_are_the_fields_of_one_array(name: str) -> None:
    spec = env_spec(EnvConfig(id=name))
    assert spec.parts == SPECS[name]
    if spec.parts[0].name:
        fields = [(part.name, part.spec.dtype, part.spec.shape) for part in spec.parts]
        assert spec.observation == ArraySpec((), np.dtype(fields))
    else:
        assert spec.observation == spec.parts[0].spec


def test_actions_are_described_by_their_kind() -> None:
    def actions(name: str) -> tuple[Any, ...]:
        spec = env_spec(EnvConfig(id=name))
        return spec.action, spec.num_actions, spec.action_choices, spec.action_low, spec.action_high

    number, pair = ArraySpec((), "int64"), ArraySpec((2,), "int64")
    assert actions("rlsys/Start-v0") == (number, 3, (), (), ())
    assert actions("rlsys/Choices-v0") == (pair, 0, (3, 2), (), ())
    assert actions("rlsys/Tuple-v0") == (pair, 0, (2, 2), (), ())
    assert actions("rlsys/Nested-v0") == (ArraySpec((2,), "float32"), 0, (), (-1.0, -1.0), (1.0, 1.0))


def test_bounds_may_be_infinite_and_of_every_number_another() -> None:
    space = Box(np.array([[-1.0, -np.inf], [0.0, 2.0]]), np.array([[1.0, np.inf], [np.inf, 3.0]]), dtype=np.float64)
    actions = Actions(space, "x")
    assert actions.spec == ArraySpec((2, 2), "float64")
    assert actions.low == (-1.0, -np.inf, 0.0, 2.0)
    assert actions.high == (1.0, np.inf, np.inf, 3.0)


SPACES: list[gymnasium.Space] = [
    Box(0.0, 1.0, (2, 3), np.float32),
    Discrete(4, start=-2),
    MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[1, 0], [-1, 7]]), dtype=np.int32),
    MultiBinary((2, 2)),
    Tuple([Discrete(3, start=1), Dict({"a": MultiBinary(2), "b": Tuple([Box(-1.0, 1.0, (1,), np.float64)])})]),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_whatever_a_space_samples_comes_as_one_array_of_its_spec(space: gymnasium.Space) -> None:
    observations = Observations(space, "x")
    space.seed(0)
    for _ in range(20):
        array = observations.array(space.sample())
        assert (array.shape, array.dtype) == (observations.spec.shape, np.dtype(observations.spec.dtype))
        for part in observations.parts:
            if part.choices:
                most = np.reshape(part.choices, part.spec.shape) - 1
                assert ((part.of(array) >= 0) & (part.of(array) <= most)).all()


@pytest.mark.parametrize("space", SPACES[:-1], ids=str)
def test_actions_from_zero_are_told_to_the_environment_as_its_space_has_them(space: gymnasium.Space) -> None:
    actions = Actions(space, "x")
    actions.space.seed(0)
    for _ in range(20):
        assert space.contains(actions.told(actions.space.sample()))
    if actions.choices:
        assert np.array_equal(
            actions.told(np.zeros(actions.spec.shape, np.int64)), getattr(space, "start", 0) * np.ones(space.shape)
        )


def test_fields_hold_what_the_environment_showed() -> None:
    env = make(EnvConfig(id="rlsys/Nested-v0"), 3)
    inner = make(EnvConfig(id="rlsys/Nested-v0"), 3).unwrapped
    observation, _ = env.reset()
    shown, _ = inner.reset()
    for _ in range(3):
        assert np.array_equal(observation["arm/angle"], shown["arm"]["angle"])
        assert observation["arm/length"] == shown["arm"]["length"]
        assert np.array_equal(observation["buttons"], shown["buttons"])
        action = np.array([0.5, -0.5], np.float32)
        observation, reward, *_ = env.step(action)
        shown, expected, *_ = inner.step(action)
        assert reward == expected


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        ({"a": 5, "b": np.zeros(2, np.float32)}, r"the observation has 5, which is not in Discrete\(3\) from 2"),
        ({"a": 1, "b": np.zeros(2, np.float32)}, r"the observation has 1, which is not in"),
        ({"a": 2, "b": np.zeros(3, np.float32)}, r"part 'b' of the observation is float32 \(3,\); its space says"),
        ({"a": 2, "b": np.zeros(2)}, r"part 'b' of the observation is float64 \(2,\); its space says float32 \(2,\)"),
        (
            {"a": 2.0, "b": np.zeros(2, np.float32)},
            r"part 'a' of the observation is float64 \(\); its space says int64",
        ),
    ],
)
def test_what_is_not_in_its_space_is_refused(observation: dict[str, Any], words: str) -> None:
    observations = Observations(Dict({"a": Discrete(3, start=2), "b": Box(0.0, 1.0, (2,), np.float32)}), "x")
    with pytest.raises(ValueError, match=words):
        observations.array(observation)


def test_environments_that_observe_and_act_in_plain_arrays_are_left_as_they_are() -> None:
    for name, is_wrapped in {
        "CartPole-v1": False,
        "Pendulum-v1": False,
        "Taxi-v3": True,
        "rlsys/Choices-v0": True,
    }.items():
        layer: Any = make(EnvConfig(id=name), 0)
        layers = []
        while isinstance(layer, gymnasium.Wrapper):
            layers.append(type(layer))
            layer = layer.env
        assert (ArraySpaces in layers) is is_wrapped, name


def test_a_stack_of_parts_is_a_stack_of_each() -> None:
    batch = BatchedEnv(EnvConfig(id="rlsys/Parts-v0", stack_states=3), (1, 2))
    assert batch.spec.policy_observation == ArraySpec((3,), batch.spec.observation.dtype)
    assert batch.observation["picture"].shape == (2, 3, 18, 18)
    clocks = [batch.observation["clock"][:, -1, 0].copy()]
    for _ in range(4):
        clocks.append(batch.step(np.zeros(2, np.int64)).observation["clock"][:, -1, 0].copy())
    assert np.array_equal(batch.observation["clock"][:, :, 0], np.stack(clocks[-3:], axis=1))


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("rlsys/Choices-v0", [[0, 0], [3, 0]]),
        ("rlsys/Choices-v0", [[0, 0], [0, -1]]),
        ("rlsys/Nested-v0", [[0.0, 0.0], [0.0, 1.5]]),
        ("rlsys/Nested-v0", [[0.0, 0.0], [np.nan, 0.0]]),
        ("rlsys/Start-v0", [0, -1]),
    ],
)
def test_an_action_outside_of_the_space_is_named_with_it(name: str, action: list[Any]) -> None:
    batch = BatchedEnv(EnvConfig(id=name), (0, 1))
    with pytest.raises(EnvError, match=r"environment 1 .* got action .*, which is not in (Multi|Box|Discrete)"):
        batch.step(np.array(action))


class Rooms(ArraySimulator):
    """E rooms with named parts, stepped at once."""

    def __init__(self, seeds: list[int]) -> None:
        space = Dict({"cell": Discrete(5), "light": Box(0.0, 1.0, (2,), np.float32)})
        super().__init__("rooms", seeds, space, MultiDiscrete([2, 2]), 7)
        self._cell = np.zeros(self.size, np.int64)

    def _begin(self, rows: Array) -> None:
        self._cell[rows] = 0

    def _advance(self, action_E: Array) -> tuple[Array, Array]:
        self._cell += action_E[:, 0]
        return action_E[:, 1].astype(np.float32), self._cell == 4

    def _observe(self, out: Array) -> None:
        out["cell"] = self._cell
        out["light"] = self._cell[:, None] / 4

    def _arrays(self) -> dict[str, Array]:
        return {"cell": self._cell}

    def render(self) -> Array:
        return np.zeros((4, 4, 3), np.uint8)


def test_a_simulator_of_many_environments_hands_out_the_same_arrays_as_one_by_one() -> None:
    many, single = Rooms([0, 1]), SimulatorEnv(Rooms([0]), 0)
    one = ArraySpaces(single, Observations(single.observation_space, "rooms"), Actions(single.action_space, "rooms"))
    many.reset()
    observation, _ = one.reset()
    for step in range(12):
        assert observation == many.observation[0]
        many.step(np.array([[step % 2, 1]] * 2))
        observation, _, terminated, truncated, _ = one.step(np.array([step % 2, 1]))
        assert observation == many.last_observation[0]
        if terminated or truncated:
            observation, _ = one.reset()


def test_a_spec_of_a_plain_array_has_one_part_without_a_name() -> None:
    spec = EnvSpec("x", ArraySpec((3,), "float32"), ArraySpec((), "int64"), 2)
    assert spec.parts == (Part("", spec.observation),)
