"""Environments of every kind of space, without anything behind them, and batches that an algorithm's policy decided."""

from dataclasses import replace
from typing import Any

import numpy as np

from rlsys.api import Algorithm, LearnerContext, PolicyContext
from rlsys.types import Array, ArraySpec, Batch, EnvSpec, Part, Weights

PLAIN = EnvSpec("plain", ArraySpec((3,), "float64"), ArraySpec((), "int64"), num_actions=3)
NUMBERS = replace(
    PLAIN,
    id="numbers",
    action=ArraySpec((2,), "float32"),
    num_actions=0,
    action_low=(-2.0, 0.0),
    action_high=(2.0, 1.0),
)
SEVERAL = replace(PLAIN, id="several", action=ArraySpec((2,), "int64"), num_actions=0, action_choices=(2, 3))
INTEGER = replace(
    PLAIN, id="integer", observation=ArraySpec((), "int64"), parts=(Part("", ArraySpec((), "int64"), (7,)),)
)
_RECORD = np.dtype([("position", "<f4", (3,)), ("card", "<i8"), ("image", "u1", (40, 36, 3))])
PARTS = replace(
    NUMBERS,
    id="parts",
    observation=ArraySpec((), _RECORD),
    parts=(
        Part("position", ArraySpec((3,), "float32")),
        Part("card", ArraySpec((), "int64"), (5,)),
        Part("image", ArraySpec((40, 36, 3), "uint8")),
    ),
)
EVERY = (PLAIN, NUMBERS, SEVERAL, INTEGER, PARTS)


def make_observations(env: EnvSpec, *shape: int, seed: int = 0) -> Array:
    """Observations `[*shape, *policy_observation]` of noise."""
    rng, spec = np.random.default_rng(seed), env.policy_observation
    observation = np.zeros((*shape, *spec.shape), spec.dtype)
    for part in env.parts:
        view = part.of(observation)
        if part.choices:
            view[...] = rng.integers(0, min(part.choices), view.shape)
        else:
            view[...] = rng.integers(0, 256, view.shape) if view.dtype == np.uint8 else rng.normal(size=view.shape)
    return observation


def decided_batch(
    algorithm: Algorithm, config: Any, env: EnvSpec, weights: dict[str, Array], size: int, length: int, seed: int = 0
) -> Batch:
    """A batch of `size` unrolls in which nothing ends: observations and rewards of noise, and what the policy did."""
    policy = algorithm.make_policy(PolicyContext(config, env, seed=seed, num_environments=size))
    policy.set_weights(Weights(0, 0, weights))
    rng, observation = np.random.default_rng(seed), make_observations(env, size, length + 1, seed=seed)
    reward = rng.normal(size=(size, length)).astype(np.float32)
    state = begun = policy.initial_state(size)
    decisions = []
    for t in range(length):
        decisions.append(policy.act(observation[:, t].copy(), state, explore=True))
        state = policy.after_step(decisions[-1].state, decisions[-1].action, reward[:, t])
    extras = algorithm.cut(config, env).extras
    return Batch(
        observation=observation,
        action=np.stack([decision.action for decision in decisions], axis=1),
        reward=reward,
        terminated=np.zeros((size, length), bool),
        truncated=np.zeros((size, length), bool),
        extras={name: np.stack([decision.extras[name] for decision in decisions], axis=1) for name in extras},
        num_rows=np.full(size, length),
        key=np.zeros(size, np.int64),
        probability=np.ones(size),
        num_items=size,
        weights_version=np.zeros(size, np.int64),
        state=begun,
        environment=np.arange(size),
        position=np.zeros(size, np.int64),
    )


def context_of(config: Any, env: EnvSpec, size: int) -> LearnerContext:
    """Of a learner of such batches."""
    return LearnerContext(config, env, seed=0, batch_size=size)
