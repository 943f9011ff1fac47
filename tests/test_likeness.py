"""Did you mean: what people type for a name that they remember by its words."""

import pytest

from rlsys import config, registry
from rlsys.config import EnvConfig, load
from rlsys.envs.make import make
from rlsys.errors import ConfigError, EnvError, did_you_mean

SETTINGS = {
    "muzero-cartpole": {
        "runtime.rollouts": "rollout_workers",
        "runtime.rolouts": "rollout_workers",
        "runtime.workers": "rollout_workers",
        "runtime.num_workers": "rollout_workers",
        "runtime.rollout_cpu": "rollout_cpus",
        "runtime.num_envs": "environments_per_worker",
        "runtime.envs": "environments_per_worker",
        "runtime.shards": "replay_shards",
        "runtime.learner": "learners",
        "runtime.adress": "address",
        "rollout_workers": "runtime.rollout_workers",
        "rollouts": "runtime.rollout_workers",
        "runtim.rollout_workers": "runtime.rollout_workers",
        "training.steps": "run.training_steps",
        "seed": "run.seed",
        "env.seed": "run.seed",
        "run.steps": "training_steps",
        "run.training_step": "training_steps",
        "run.dir": "directory",
        "run.keep": "keep_checkpoints",
        "run.init": "init_from",
        "env.clip_reward": "clip_rewards",
        "env.frameskip": "frame_skip",
        "env.grayscal": "grayscale",
        "env.gray": "grayscale",
        "env.max_steps": "max_episode_steps",
        "muzero.simulations": "num_simulations",
        "muzero.num_sims": "num_simulations",
        "muzero.num_simulation": "num_simulations",
        "muzero.batch": "batch_size",
        "run.batch_size": "muzero.batch_size",
        "muzero.lr": "lr_init",
        "muzero.window": "window_size",
        "muzero.unroll_steps": "num_unroll_steps",
    },
    "ppo-cartpole": {
        "ppo.lr": "learning_rate",
        "ppo.learning_rat": "learning_rate",
        "ppo.gamma": "gae_gamma",
        "ppo.entropy": "entropy_loss_coef",
        "ppo.hidden": "hidden_size",
    },
    "simple-catch": {"simple.hidden_size": "simple.world_model.hidden_size", "simple.world_model.batch": "batch_size"},
}


@pytest.mark.parametrize(
    ("experiment", "key", "meant"), [(name, *pair) for name, pairs in SETTINGS.items() for pair in pairs.items()]
)
def test_a_setting_is_recognised_by_its_words(experiment: str, key: str, meant: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(experiment, overrides=[f"{key}=1"])
    assert f"Did you mean '{meant}'?" in str(refused.value)


def test_a_key_that_is_like_no_other_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'muzero\.qqqq' .*Known here: architecture, "):
        load("muzero-cartpole", overrides=["muzero.qqqq=1"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kung_fu_master", "KungFuMasterNoFrameskip-v4"),
        ("KungFuMaster", "KungFuMasterNoFrameskip-v4"),
        ("kungfumaster", "KungFuMasterNoFrameskip-v4"),
        ("montezuma-revenge", "MontezumaRevengeNoFrameskip-v4"),
        ("space invaders", "SpaceInvadersNoFrameskip-v4"),
        ("breakout", "BreakoutNoFrameskip-v4"),
        ("Breakot", "BreakoutNoFrameskip-v4"),
        ("BreakoutNoFrameskip", "BreakoutNoFrameskip-v4"),
        ("ms_pacman", "MsPacmanNoFrameskip-v4"),
        ("q*bert", "QbertNoFrameskip-v4"),
        ("pong", "PongNoFrameskip-v4"),
        ("breakout-ram", "Breakout-ramNoFrameskip-v4"),
        ("ale/breakout-v5", "ALE/Breakout-v5"),
        ("coinrun", "procgen-coinrun"),
        ("procgen_coinrun", "procgen-coinrun"),
        ("watermaze", "dmlab-rooms_watermaze"),
        ("catch-v0", "catch"),
        ("lunarlander", "LunarLander-v3"),
        ("acrobot", "Acrobot-v1"),
    ],
)
def test_an_environment_is_recognised_by_its_words_and_never_skips_at_random(name: str, meant: str) -> None:
    with pytest.raises(EnvError) as refused:
        make(EnvConfig(id=name), 0)
    assert f"Did you mean '{meant}'" in str(refused.value)


@pytest.mark.parametrize("name", ["mine/Grid-v0", "minigrid/Empty-v0"])
def test_an_environment_of_another_package_is_named_with_its_package(name: str) -> None:
    with pytest.raises(EnvError) as refused:
        make(EnvConfig(id=name), 0)
    assert f"env.id={name.partition('/')[0]}:{name}" in str(refused.value)
    assert "Did you mean" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("muzero_cartpole", "muzero-cartpole"),
        ("cartpole-muzero", "muzero-cartpole"),
        ("MuZero-CartPole", "muzero-cartpole"),
        ("muzerocartpole", "muzero-cartpole"),
        ("ppo_breakout", "ppo-breakout"),
        ("ppo-brekout", "ppo-breakout"),
        ("simple-cach", "simple-catch"),
    ],
)
def test_an_experiment_is_recognised_by_its_words(name: str, meant: str) -> None:
    assert did_you_mean(name, config.experiment_names()) == f" Did you mean '{meant}'?"


def test_profiles_algorithms_commands_and_options_are_too() -> None:
    assert did_you_mean("gpu48", config.profile_names()) == " Did you mean 'gpu-48'?"
    assert did_you_mean("latop", config.profile_names()) == " Did you mean 'laptop'?"
    assert did_you_mean("MuZero", registry.names()) == " Did you mean 'muzero'?"
    assert did_you_mean("mu_zero", registry.names()) == " Did you mean 'muzero'?"
    assert did_you_mean("qqqq", registry.names()) == ""
