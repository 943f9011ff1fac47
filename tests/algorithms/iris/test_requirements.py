"""What is asked of the runtime, and what is refused before anything starts."""

import pytest

from rlsys import config, registry
from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.requirements import cut, frame_shape, store, turns, values
from rlsys.config import EnvConfig, read_env
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.runs.resolve import resolve

CATCH = env_spec(EnvConfig(id="catch"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["env.id=CartPole-v1"], "iris makes tokens of pictures of bytes"),
        (["env.stack_states=4"], "Set env.stack_states=1"),
        (["iris.tokenizer.channel_multipliers=[1,1,1,1]"], "both sides must be divisible by 8"),
        (["iris.world_model_training.length=11"], "length = 11 with iris.world_model.max_blocks = 10"),
        (["iris.tokenizer_training.batch_size=7", "runtime.learners=2"], "iris.tokenizer_training.batch_size = 7"),
        (
            [
                "iris.world_model.kind=ncp_single_step",
                "iris.world_model.frames=autoregressive",
                "iris.world_model.width=200",
                "iris.world_model.ncp_units=3264",
            ],
            "iris.world_model.ncp_units = 3264 with 4200 outputs",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(settings: list[str], said: str) -> None:
    loaded = config.load("iris-catch", overrides=settings)
    with pytest.raises(ConfigError) as raised:
        resolve(loaded, registry.get_algorithm("iris", ""), num_cpus=2, num_gpus=0)
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_turn_is_an_epoch_and_all_of_them_are_kept() -> None:
    section = IrisConfig(environments=3)
    assert turns(section, CATCH).rows == 201
    assert store(section, CATCH).max_size == 500 * 201 and store(section, CATCH).keeps_episodes
    assert cut(section, CATCH).length == 50 and cut(IrisConfig(rows_per_epoch=8), CATCH).length == 8


def test_values_are_of_signs_where_those_are_foretold() -> None:
    assert values(IrisConfig()).reward_bound == 1.0
    assert values(IrisConfig(world_model={"rewards": "two_hot"})).reward_bound is None


def test_frames_have_channels() -> None:
    assert frame_shape(CATCH) == (1, 20, 16)
    colour = read_env({"id": "BreakoutNoFrameskip-v4", "grayscale": False, "frame_size": [64, 64]})
    assert frame_shape(env_spec(colour)) == (3, 64, 64)
