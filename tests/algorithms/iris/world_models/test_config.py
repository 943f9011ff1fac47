from typing import Any

import pydantic
import pytest

from rlsys.algorithms.iris.world_models.config import WorldModelConfig


@pytest.mark.parametrize(
    ("kind", "layers", "width", "units"),
    [("transformer", 10, 256, 0), ("ncp_single_step", 2, 128, 3_264), ("ncp_multi_step", 1, 256, 512)],
)
def test_one_option_chooses_a_model_of_upstream_s_size(kind: Any, layers: int, width: int, units: int) -> None:
    config = WorldModelConfig(kind=kind)
    assert (config.num_layers, config.num_features, config.num_units(num_tokens=16)) == (layers, width, units)


@pytest.mark.parametrize("kind", ["ncp_single_step", "ncp_multi_step"])
@pytest.mark.parametrize("num_tokens", [2, 20, 256])
def test_circuits_grow_with_what_they_have_to_say(kind: Any, num_tokens: int) -> None:
    for width in (1, 16, 200):
        WorldModelConfig(kind=kind, width=width).check_tokens(num_tokens)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 250}, "width = 250 with heads = 4"),
        ({"attention": "block_causal"}, "would see the one that it foretells"),
        ({"max_blocks": 20, "dropped_blocks": 20}, "newest frame has to stay"),
        ({"layers": 2, "frozen": 3}, "frozen = 3 says how many of the last blocks are trained"),
        ({"frozen": 0}, "frozen"),
        ({"frozen": 1.5}, "it must be true, false, or how many"),
        (
            {"kind": "ncp_single_step", "frozen": True, "frames": "parallel"},
            "frames, frozen with kind = ncp_single_step",
        ),
        ({"embed_dropout": 1.0}, "embed_dropout"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        WorldModelConfig(**settings)


@pytest.mark.parametrize("frozen", [True, False, 1, 10])
def test_layers_are_frozen_all_none_or_all_but_some(frozen: bool | int) -> None:
    config = WorldModelConfig(frozen=frozen)
    assert config.frozen == frozen
    assert isinstance(config.frozen, bool) == isinstance(frozen, bool), "1 is not true"
