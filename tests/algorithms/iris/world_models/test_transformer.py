import pytest
import torch
from algorithms.iris.world_models.tiny_models import SIZES, batch, make, tiny

from rlsys.algorithms.iris.world_models.transformer import TransformerNetwork, Trunk


def test_names_and_first_weights_are_gpt2_s() -> None:
    torch.manual_seed(0)
    trunk = Trunk(tiny(width=64, pre_layer=True, post_layer=True))
    names = set(trunk.state_dict())
    assert {"h.0.ln_1.weight", "h.1.attn.c_attn.bias", "h.1.mlp.c_proj.weight", "ln_f.bias", "pre.weight"} <= names
    assert trunk.h[0].mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (trunk.h[0].mlp.c_fc.bias == 0.0).all() and (trunk.ln_f.weight == 1.0).all()


@pytest.mark.parametrize(
    ("frozen", "trained"), [(False, [True, True, True]), (True, [False] * 3), (1, [False, False, True])]
)
def test_frozen_layers_get_no_gradient(frozen: bool | int, trained: list[bool]) -> None:
    model = make(layers=3, frozen=frozen)
    sum(model.losses(**batch()).values()).backward()
    blocks = model.network.trunk.h
    for block, is_trained in zip(blocks, trained, strict=True):
        weights = [*block.attn.parameters(), *block.mlp.parameters()]
        assert all((weight.grad is not None) == is_trained == weight.requires_grad for weight in weights)
        assert block.ln_1.weight.grad is not None and block.ln_2.bias.grad is not None
    assert model.network.embedding.weight.grad is not None and model.network.token.out.weight.grad is not None


@pytest.mark.parametrize(
    ("settings", "total", "in_trunk", "trained_in_trunk"),
    [
        ({}, 8_447_493, 7_898_112, 7_898_112),
        ({"layers": 12, "heads": 12, "width": 768}, 87_882_757, 85_056_000, 85_056_000),
        ({"layers": 12, "heads": 12, "width": 768, "frozen": True}, 87_882_757, 85_056_000, 38_400),
        ({"layers": 24, "heads": 16, "width": 1_024, "frozen": True}, 306_866_693, 302_311_424, 100_352),
        ({"layers": 36, "heads": 20, "width": 1_280}, 715_067_397, 708_390_400, 708_390_400),
    ],
)
def test_presets_are_as_large_as_upstream_s(settings, total: int, in_trunk: int, trained_in_trunk: int) -> None:  # type: ignore[no-untyped-def]
    from rlsys.algorithms.iris.world_models.config import WorldModelConfig
    from rlsys.algorithms.iris.world_models.interface import Sizes

    config = WorldModelConfig(**settings)
    with torch.device("meta"):
        network = TransformerNetwork(config, Sizes(), num_reward_classes=3)
    network.trunk.freeze(config.frozen)
    trunk = list(network.trunk.parameters())
    assert sum(weight.numel() for weight in network.parameters()) == total
    assert sum(weight.numel() for weight in trunk) == in_trunk
    assert sum(weight.numel() for weight in trunk if weight.requires_grad) == trained_in_trunk


def test_questions_stand_where_the_answers_will() -> None:
    network = TransformerNetwork(tiny("parallel"), SIZES, num_reward_classes=3)
    assert network.question is not None
    asked = network.ask(2)
    places = network.position.weight[2 * SIZES.block : 3 * SIZES.block - 1]
    torch.testing.assert_close(asked, places + network.question.weight)
