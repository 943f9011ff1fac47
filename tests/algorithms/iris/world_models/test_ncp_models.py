import pytest
import torch
from algorithms.iris.world_models.tiny_models import CPU, SIZES, batch, make

from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.interface import Sizes
from rlsys.algorithms.iris.world_models.make import make_world_model
from rlsys.errors import ConfigError

_NEVER_READ = (340 - 17) * 256
"""Numbers of upstream's table of positions of which no step uses any."""


def test_one_token_at_a_time_is_as_large_as_upstream_s() -> None:
    model = make_world_model(WorldModelConfig(kind="ncp_multi_step"), Sizes())
    assert sum(weight.numel() for weight in model.parameters()) + _NEVER_READ == 1_275_541


def test_one_frame_at_a_time_is_as_large_as_upstream_s() -> None:
    with torch.device("meta"):
        model = make_world_model(WorldModelConfig(kind="ncp_single_step"), Sizes())
    assert sum(weight.numel() for weight in model.parameters()) == 87_247_181
    assert sum(weight.numel() for weight in model.network.blocks[0].cell.parameters()) == 32_021_668


def test_a_step_is_as_many_passes_as_tokens_or_one() -> None:
    for kind, num_passes in (("ncp_multi_step", SIZES.block), ("ncp_single_step", 1)):
        model = make(kind)
        memory, calls = model.begin(2, CPU), []
        model.observe(memory, torch.zeros(2, SIZES.tokens, dtype=torch.int64))
        model._inference_network().register_forward_hook(lambda _, given, out: calls.append(out[0].shape[1]))  # noqa: B023
        model.imagine(memory, torch.zeros(2, dtype=torch.int64))
        assert calls == [1] * num_passes


@pytest.mark.parametrize("kind", ["ncp_single_step", "ncp_multi_step"])
def test_the_first_frame_counts(kind: str) -> None:
    model, memories = make(kind), []
    for token in (0, 1):
        memory = model.begin(1, CPU)
        model.observe(memory, torch.full((1, SIZES.tokens), token), torch.zeros(1, dtype=torch.int64))
        memories.append(memory.tensors["state/0"])
    assert (memories[0] != memories[1]).any()


def test_positions_are_an_option() -> None:
    with_them, without = make("ncp_multi_step"), make("ncp_multi_step", ncp_positions=False)
    assert with_them.network.position is not None and without.network.position is None
    assert without.losses(**batch())["observation"].isfinite()


def test_too_small_a_circuit_is_refused() -> None:
    with pytest.raises(ConfigError, match="ncp_units = 22 with 20 outputs of ncp_single_step"):
        make("ncp_single_step", ncp_units=22)
