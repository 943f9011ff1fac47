"""Settings that cannot be, and the sizes that they stand for."""

from typing import Any

import pytest
from pydantic import ValidationError

from rlsys.algorithms.iris.config import IrisConfig


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"collect_epochs": 601}, "collect_epochs = 601 of epochs = 600"),
        ({"tokenizer": {"train": False}}, "Name a pretrained tokenizer, or set tokenizer.train=true"),
        ({"held_out_every": 1}, "something has to be learned from"),
        ({"age_weights": (0.0, 0.0)}, "one of them has to be above 0"),
        ({"tokenizer": {"deltas": True}}, "Set actor_critic.use_original_frames=true"),
        (
            {"tokenizer": {"deltas": True}, "world_model": {"kind": "ncp_multi_step"}},
            "kind=transformer, or tokenizer.delt",
        ),
        ({"world_model_training": {"length": 1}}, "greater than or equal to 2"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        IrisConfig(**changes)


@pytest.mark.parametrize(
    "changes", [{"load_tokenizer_from": "run"}, {"tokenizer": {"train": False, "initial": "a.pt"}}]
)
def test_a_tokenizer_from_elsewhere_need_not_learn(changes: dict[str, Any]) -> None:
    assert not IrisConfig(**{"tokenizer": {"train": False}, **changes}).tokenizer.train


def test_components_begin_with_defaults_of_their_own() -> None:
    config = IrisConfig(tokenizer_training={"learning_rate": 1e-3}, world_model_training={"batch_size": 8})
    assert (config.tokenizer_training.batch_size, config.tokenizer_training.start_after_epochs) == (256, 5)
    assert (config.world_model_training.start_after_epochs, config.world_model_training.length) == (25, 20)
    assert config.actor_critic_training.start_after_epochs == 50
    assert sum(config.age_weights) == 1.0 and config.age_weights[-1] == 0.5
