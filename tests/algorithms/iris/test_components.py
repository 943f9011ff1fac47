"""What learns: whose weights an update changes, of several batches as of a large one, and what returns are."""

from typing import Any

import numpy as np
import pytest
import torch
from algorithms.iris.small_learners import CATCH, settings

from rlsys.algorithms.iris.components import (
    ActorCriticComponent,
    Component,
    TokenizerComponent,
    Windows,
    WorldModelComponent,
)
from rlsys.api import LearnerContext

NAMES = ("tokenizer", "world_model", "actor_critic")
DELTAS: dict[str, Any] = {"tokenizer": {"deltas": True}, "actor_critic": {"use_original_frames": True}}


def windows(size: int = 4, length: int = 4, seed: int = 0) -> Windows:
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, (size, length, *shape), generator=generator)

    ends = torch.zeros(size, length, dtype=torch.bool)
    return Windows(draw(256, 1, 20, 16).to(torch.uint8), draw(3), draw(3) - 1.0, ends, ~ends)


def make(**changes: Any) -> dict[str, Component[Any]]:
    config, context = settings(**changes), LearnerContext(settings(**changes), CATCH, seed=0)
    torch.manual_seed(0)
    tokenizer = TokenizerComponent(config, context)
    world_model = WorldModelComponent(config, context, tokenizer)
    return dict(
        zip(NAMES, (tokenizer, world_model, ActorCriticComponent(config, context, tokenizer, world_model)), strict=True)
    )


@pytest.mark.parametrize("changes", [{}, DELTAS])
@pytest.mark.parametrize("name", NAMES)
def test_an_update_changes_one_component_and_leaves_all_in_evaluation_mode(name: str, changes: dict[str, Any]) -> None:
    components = make(**changes)
    before = {other: component.model.weights() for other, component in components.items()}
    metrics = components[name].step([windows()])
    group = {"world_model": "world"}.get(name, name)
    assert np.isfinite(list(metrics.values())).all()
    assert {f"{group}/loss", f"{group}/gradient_norm", f"{group}/learning_rate"} <= metrics.keys()
    changed = {
        other
        for other, component in components.items()
        if any(not np.array_equal(array, before[other][key]) for key, array in component.model.weights().items())
    }
    assert changed == {name}
    assert not any(component.model.network.training for component in components.values())


def test_several_batches_are_as_a_large_one() -> None:
    one, other = windows(seed=1), windows(seed=2)
    both = Windows(*(torch.cat(parts) for parts in zip(one, other, strict=True)))
    dropouts = {"embed_dropout": 0.0, "residual_dropout": 0.0, "attention_dropout": 0.0}
    for name in ("tokenizer", "world_model"):
        split, whole = (make(world_model=dropouts)[name] for _ in range(2))
        ours, theirs = split.step([one, other]), whole.step([both])
        group = {"world_model": "world"}.get(name, name)
        for metric in ("loss", "gradient_norm"):
            assert ours[f"{group}/{metric}"] == pytest.approx(theirs[f"{group}/{metric}"], rel=1e-4)


def test_a_critic_learns_from_discounted_rewards() -> None:
    component = make(tokenizer={"critic_weight": 0.5, "critic_units": 4}, returns_gamma=0.5)["tokenizer"]
    assert isinstance(component, TokenizerComponent)
    given = windows(size=2, length=3)._replace(reward=torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, -8.0]]))
    assert component._returns(given).tolist() == [3.0, -2.0]
    assert "tokenizer/value_loss" in component.step([given._replace(frame=given.frame[:, :1])])
    assert "tokenizer/value_loss" not in make()["tokenizer"].step([windows()])


def test_windows_are_as_likely_as_their_losses_and_new_ones_likelier() -> None:
    component = make()["world_model"]
    assert isinstance(component, WorldModelComponent)
    batches = [windows(seed=seed) for seed in (1, 2)]
    by_itself = [component.losses(Windows(*(part[row : row + 1] for part in batches[0])))["loss"] for row in range(4)]
    component.step(batches)
    priorities = component.priorities()
    assert priorities.shape == (8,) and priorities.dtype == np.float64
    np.testing.assert_allclose(priorities[:4], [float(loss.detach()) / 10 for loss in by_itself], rtol=1e-4)
    component._by_window = [torch.tensor([25.0])]
    assert component.priorities().tolist() == [1.0], "nothing is likelier than what is new"


def test_only_a_transformers_dense_layers_decay() -> None:
    def moved(decay: float, **model: Any) -> dict[str, Any]:
        component = make(world_model_training={"weight_decay": decay, "learning_rate": 0.1}, world_model=model)[
            "world_model"
        ]
        component.step([windows()])
        return component.model.weights()

    none, some = moved(0.0), moved(0.5)
    differing = {name for name in none if not np.allclose(none[name], some[name], atol=1e-6)}
    assert "network.trunk.h.0.attn.c_attn.weight" in differing and "network.reward.out.weight" in differing
    assert not {name for name in differing if "embedding" in name or "position" in name or "ln_" in name}
    assert not {name for name in differing if name.endswith("bias")}
    circuit = {"kind": "ncp_multi_step", "ncp_units": 40}
    none, some = moved(0.0, **circuit), moved(0.5, **circuit)
    assert all(np.array_equal(none[name], some[name]) for name in none)
