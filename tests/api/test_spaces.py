"""What an algorithm says of the spaces that it cannot handle."""

import numpy as np
import pytest

from rlsys.api import Spaces
from rlsys.api.spaces import ActionKind, ObservationKind, action_kind, action_names, observation_kinds
from rlsys.types import ArraySpec, EnvSpec, Part

VECTOR = ArraySpec((4,), "float32")
NUMBER = ArraySpec((), "int64")
PARTS = (Part("image", ArraySpec((16, 16), "uint8")), Part("cell", NUMBER, (9,)))
NAMED = ArraySpec((), np.dtype([("image", "u1", (16, 16)), ("cell", "i8")]))

CARTPOLE = EnvSpec("CartPole-v1", VECTOR, NUMBER, 2)
TAXI = EnvSpec("Taxi-v3", NUMBER, NUMBER, 6, parts=(Part("", NUMBER, (500,)),))
PENDULUM = EnvSpec("Pendulum-v1", VECTOR, ArraySpec((1,), "float32"), 0, action_low=(-2.0,), action_high=(2.0,))
BUTTONS = EnvSpec("Buttons-v0", VECTOR, ArraySpec((5,), "int64"), 0, action_choices=(3, 2, 2, 2, 2))
ROOM = EnvSpec("Room-v0", NAMED, NUMBER, 4, parts=PARTS)


@pytest.mark.parametrize(
    ("env", "actions", "observations"),
    [
        (CARTPOLE, "discrete", {"array"}),
        (TAXI, "discrete", {"integers"}),
        (PENDULUM, "numbers", {"array"}),
        (BUTTONS, "choices", {"array"}),
        (ROOM, "discrete", {"array", "integers", "parts"}),
    ],
    ids=lambda value: value.id if isinstance(value, EnvSpec) else None,
)
def test_an_environment_has_one_kind_of_actions_and_may_have_several_of_observations(
    env: EnvSpec, actions: ActionKind, observations: set[ObservationKind]
) -> None:
    assert (action_kind(env), observation_kinds(env)) == (actions, observations)
    assert not Spaces((actions,), tuple(observations)).refusal(env)
    for missing in observations:
        assert Spaces((actions,), tuple(observations - {missing})).refusal(env)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (PENDULUM, "acts in Discrete spaces only; 'Pendulum-v1' acts with Box(-2, 2, (1,))"),
        (BUTTONS, "acts in Discrete spaces only; 'Buttons-v0' acts with MultiDiscrete([3, 2, 2, 2, …])"),
        (TAXI, "reads Box spaces only; 'Taxi-v3' observes Discrete(500)"),
        (ROOM, "reads Box spaces only; 'Room-v0' observes Dict(image: uint8 (16, 16), cell: Discrete(9))"),
    ],
    ids=lambda value: value.id if isinstance(value, EnvSpec) else None,
)
def test_a_refusal_names_the_space_and_what_would_do(env: EnvSpec, words: str) -> None:
    assert Spaces().refusal(env) == words


def test_a_refusal_names_all_that_would_do() -> None:
    spaces = Spaces(("discrete", "choices"), ("array", "parts"))
    assert spaces.refusal(PENDULUM).startswith("acts in Discrete and MultiDiscrete spaces only;")
    assert spaces.refusal(TAXI).startswith("reads Box and Dict spaces only;")


def test_every_number_by_which_a_policy_tells_how_it_acts_has_a_name() -> None:
    assert action_names(CARTPOLE) == ()
    assert action_names(PENDULUM) == ("number 0",)
    options = ("0 = 0", "0 = 1", "0 = 2", *(f"{index} = {option}" for index in range(1, 5) for option in range(2)))
    assert action_names(BUTTONS) == tuple(f"choice {option}" for option in options)
