"""The check that every algorithm must pass: what the runtime may rely on, tried in a few steps."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, ReplayNotReady, SegmentSpec, TableSpec
from rlsys.config import EnvConfig
from rlsys.envs.vector import BatchedEnv
from rlsys.replay.limiter import RateLimiter
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.table import Table
from rlsys.replay.unrolls import UnrollWriter
from rlsys.replay.writer import SegmentWriter
from rlsys.types import Array, ArraySpec, State, Weights

_ENVIRONMENTS = 3
_STEPS = 300


class TableReplay:
    """A table or a queue as replay, without limiter or processes."""

    def __init__(self, table: Table | UnrollQueue) -> None:
        self.table = table

    def sample(self, batch_size: int, length: int, rows: Any = None) -> Any:
        """Draws a batch."""
        if isinstance(self.table, UnrollQueue):
            return self.table.sample(batch_size)
        return self.table.sample(batch_size, length, rows)

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities; the table refuses what is not finite."""
        assert isinstance(self.table, Table), "a queue has no priorities"
        self.table.update_priorities(keys, priorities)


class _NeverReady:
    """Replay that has nothing."""

    def sample(self, batch_size: int, length: int, rows: Any = None) -> Any:
        """Says so."""
        raise ReplayNotReady("nothing will ever come")

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Must not be called before a sample."""
        raise AssertionError("priorities of what was never sampled")


def check_algorithm(algorithm: Algorithm, section: Any, env_config: EnvConfig) -> None:
    """Collects with the policy, learns from what was collected, and saves and restores both halves.

    Asserts that decisions have the shapes and extras that were promised; that writer and table or queue take them; that
    a step begins with a sample, gives finite metrics and changes the weights; that the policy takes the weights; and
    that a restored learner and policy go on exactly as the originals.
    """
    env = BatchedEnv(env_config, range(_ENVIRONMENTS))
    context = PolicyContext(section, env.spec, seed=1, num_environments=_ENVIRONMENTS)
    policy = algorithm.make_policy(context)
    learner = algorithm.make_learner(LearnerContext(section, env.spec, seed=2))
    algorithm.check(section, env.spec, _ENVIRONMENTS, 1)
    assert not policy.weights(), "a policy acts with nothing before it was given weights"
    policy.set_weights(_published(learner, 0))
    given, held = learner.weights(), policy.weights()
    assert held.keys() == given.keys(), "a policy acts with the weights that it was given"
    assert all(np.array_equal(held[name], given[name]) and held[name].dtype == given[name].dtype for name in given)

    replay = TableReplay(
        _collect(policy, env, algorithm.segments(section, env.spec), algorithm.table(section, env.spec))
    )
    observation = env.observation.copy()
    env.close()

    with contextlib.suppress(ReplayNotReady):
        learner.step(_NeverReady())
        raise AssertionError("a step begins with a sample")
    before = {name: array.copy() for name, array in learner.weights().items()}
    _check_metrics(learner.step(replay))
    after = _published(learner, 1)
    assert any(not np.array_equal(before[name], after.arrays[name]) for name in before), "a step changes the weights"
    policy.set_weights(after)

    _check_begun_learner(algorithm, section, learner, env.spec)
    _check_restored_learner(algorithm, section, learner, replay, env.spec)
    _check_restored_policy(algorithm, context, policy, after, observation)


def _published(learner: Learner, version: int) -> Weights:
    """Returns a learner's weights as the runtime hands them out: in memory that cannot be written."""
    arrays = {name: array.copy() for name, array in learner.weights().items()}
    for array in arrays.values():
        array.flags.writeable = False
    return Weights(version, version, arrays)


def _collect(policy: Policy, env: BatchedEnv, segments: SegmentSpec, spec: TableSpec) -> Any:
    """Returns a table or a queue filled with what the policy did."""
    table: Any
    writer: Any
    if segments.unroll:
        table = UnrollQueue(spec, segments.stored_env(env.spec), segments)
        writer = UnrollWriter(segments, segments.stored_env(env.spec), 0, 0, _ENVIRONMENTS)
    else:
        RateLimiter(spec).check(spec.batch_size, segments.length + segments.overlap)
        table = Table(spec, env.spec, segments)
        writer = SegmentWriter(segments, env.spec, 0, 0, _ENVIRONMENTS)
    actor = Actor(policy, _ENVIRONMENTS)
    _check_state(actor.state, segments.state)
    for _ in range(_STEPS):
        observation = env.observation.copy()
        state = actor.state
        decision = actor.decide(observation, explore=True)
        _check_decision(decision, segments.extras, env)
        result = env.step(decision.action)
        step: dict[str, Any] = {
            "observation": observation,
            "action": result.action,
            "reward": result.reward,
            "terminated": result.terminated,
            "truncated": result.truncated,
            "extras": {name: decision.extras[name] for name in segments.extras},
            "weights_version": 0,
            "next_observation": result.observation,
        }
        if segments.unroll:
            step["state"] = state
            if segments.encoded is not None:
                step |= {"observation": decision.encoded, "next_observation": policy.encode(result.observation)}
        else:
            truncated = segments.bootstrap_extras and result.truncated.any()
            step["priority"] = decision.priority
            step["bootstrap_extras"] = (
                policy.act(result.observation, decision.state, explore=False).extras if truncated else None
            )
        for completed in writer.append_batch(**step):
            table.insert(completed)
        actor.observe(result.action, result.reward, result.first)
        _check_state(actor.state, segments.state)
    return table


def _check_state(state: State, specs: Mapping[str, ArraySpec]) -> None:
    for name, spec in specs.items():
        assert state[name].shape == (_ENVIRONMENTS, *spec.shape), (name, state[name].shape, spec.shape)
        assert state[name].dtype == np.dtype(spec.dtype), (name, state[name].dtype, spec.dtype)


def _check_decision(decision: Any, extras: Any, env: BatchedEnv) -> None:
    assert decision.action.shape == (_ENVIRONMENTS, *env.spec.action.shape), decision.action.shape
    for name, spec in extras.items():
        value = decision.extras[name]
        assert value.shape == (_ENVIRONMENTS, *spec.shape), (name, value.shape, spec.shape)
        assert value.dtype == np.dtype(spec.dtype), (name, value.dtype, spec.dtype)
        assert np.isfinite(value).all(), name
    if decision.priority is not None:
        assert decision.priority.shape == (_ENVIRONMENTS,)
        assert (decision.priority >= 0).all()
        assert np.isfinite(decision.priority).all()


def _check_metrics(metrics: Any) -> None:
    assert metrics, "a step reports metrics"
    for name, value in metrics.items():
        assert "/" in name, f"metric '{name}' has no group"
        assert np.isfinite(value), (name, value)


def _check_begun_learner(algorithm: Algorithm, section: Any, learner: Any, env: Any) -> None:
    """A learner that begins with the weights of another acts as that one does, and is new in all other respects."""
    new, begun = (algorithm.make_learner(LearnerContext(section, env, seed=99)) for _ in range(2))
    saved = learner.save()
    begun.load_weights(_published(learner, 0).arrays, saved.get("world"))
    given, taken = learner.weights(), begun.weights()
    assert given.keys() == taken.keys()
    assert all(np.array_equal(given[name], taken[name]) for name in given), "it begins with the weights it was given"
    assert all(not np.shares_memory(given[name], taken[name]) for name in given)
    before, after = dict(_leaves(new.save())), dict(_leaves(begun.save()))
    arrays = {name for name, value in _leaves(saved) if isinstance(value, np.ndarray)}
    of_networks = {name for name in arrays if "optimizer" not in name and "rng" not in name}
    assert before.keys() == after.keys(), "it has made no step: its optimizer remembers nothing"
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed <= of_networks, (
        f"counters, optimizer and generators begin anew, but {sorted(changed - of_networks)} do not"
    )
    assert begun.turns() == new.turns()
    assert begun.steps_left() == new.steps_left()


def _leaves(saved: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted path and value of all that is neither dict nor list."""
    if isinstance(saved, Mapping | list):
        for name, value in saved.items() if isinstance(saved, Mapping) else enumerate(saved):
            yield from _leaves(value, f"{path}{name}.")
    else:
        yield path, saved


def _check_restored_learner(algorithm: Algorithm, section: Any, learner: Any, replay: TableReplay, env: Any) -> None:
    twin = algorithm.make_learner(LearnerContext(section, env, seed=99))
    twin.load(copy.deepcopy(learner.save()))
    table = copy.deepcopy(replay.table)
    first, second = learner.step(replay), twin.step(TableReplay(table))
    assert first == second, "a restored learner takes the same next step"
    ours, theirs = learner.weights(), twin.weights()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def _check_restored_policy(
    algorithm: Algorithm, context: Any, policy: Any, weights: Weights, observation: Array
) -> None:
    twin = algorithm.make_policy(context)
    twin.set_weights(weights)
    twin.load(copy.deepcopy(policy.save()))
    size = len(observation)
    for explore in (True, True, False):
        ours = policy.act(observation, policy.initial_state(size), explore=explore)
        theirs = twin.act(observation, twin.initial_state(size), explore=explore)
        assert np.array_equal(ours.action, theirs.action), "a restored policy acts alike"
        assert all(np.array_equal(ours.extras[name], theirs.extras[name]) for name in ours.extras)
