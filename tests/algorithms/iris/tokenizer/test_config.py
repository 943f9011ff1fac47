"""Settings that cannot work are refused in one line that says what to do."""

from typing import Any

import pytest
from pydantic import ValidationError

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"perceptual": "vgg"}, "Set vgg_path, or perceptual = none"),
        ({"channels": 512, "channel_multipliers": [1, 64]}, "makes levels of 32768 channels"),
        ({"deltas": True, "critic_weight": 0.1}, "Set critic_weight=0, or deltas=false"),
        ({"vocabulary_size": 1}, "greater than or equal to 2"),
        ({"channel_multipliers": []}, "at least 1 item"),
        ({"dropout": 1.0}, "less than 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TokenizerConfig.model_validate(settings)


def test_the_map_is_halved_once_less_than_there_are_levels() -> None:
    assert TokenizerConfig().map_size(64, 64) == (4, 4)
    assert TokenizerConfig().map_size(80, 48) == (5, 3)
    assert TokenizerConfig(channel_multipliers=(1,)).map_size(7, 9) == (7, 9)


def test_patches_are_tokens() -> None:
    config = TokenizerConfig(channel_multipliers=(1, 1, 1, 1), patch=4)
    assert config.map_size(64, 96) == (2, 3)
    with pytest.raises(ConfigError, match="halved 3 times and cut, so both sides must be divisible by 32"):
        config.map_size(64, 48)
    with pytest.raises(ConfigError, match=r"patch = 4 leave one token.*or a smaller patch"):
        config.map_size(32, 32)


@pytest.mark.parametrize(("height", "width", "said"), [(84, 64, "divisible by 16"), (16, 16, "one token")])
def test_frames_that_do_not_fit_are_refused_in_one_line(height: int, width: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        TokenizerConfig().map_size(height, width)
    assert f"frames of {height} × {width} with 5 iris.tokenizer.channel_multipliers" in str(raised.value)


def test_attention_is_where_the_longer_side_is_named() -> None:
    config = TokenizerConfig()
    assert [config.attends(64, 64, level) for level in range(5)] == [False, False, True, True, False]
    assert [config.attends(16, 64, level) for level in range(5)] == [False, False, True, True, False]
    assert not any(config.attends(80, 80, level) for level in range(5))
