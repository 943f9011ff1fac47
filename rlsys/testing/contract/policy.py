"""What rollout workers, inference workers and evaluators rely on in a policy."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rlsys.api import Decision, Policy, Refreshed, Saved, Unrolls, ValueSpec
from rlsys.testing.requirement import require
from rlsys.testing.saved import check_saved, first_difference
from rlsys.testing.training import Rank, Training, read_only
from rlsys.types import Array, ArraySpec, State, Weights

_RELATIVE = 1e-4
"""How far numbers of a row may be from those of the same row elsewhere in a batch: sums are in another order there."""


class WatchedPolicy(Policy):
    """A policy whose decisions are checked: shapes, types, extras, states, and that nothing is kept of what it saw."""

    def __init__(self, rank: Rank, values: ValueSpec) -> None:
        """Watches the policy of a rank; unless it explores, it returns what `values` names."""
        self._policy = rank.policy
        self._rank = rank
        self._values = {name: ArraySpec((), "float32") for name in (values.extra, values.reward_extra) if name}
        self._specs: dict[str, tuple[tuple[int, ...], str]] = {}

    def initial_state(self, batch_size: int) -> State:
        """Checks that its parts have a row for each."""
        state = self._policy.initial_state(batch_size)
        for name, value in state.items():
            require(
                len(value) == batch_size,
                f"a state has a row per environment; {name} of {batch_size} has shape {value.shape}",
            )
        self._specs = {name: (value.shape[1:], str(value.dtype)) for name, value in state.items()}
        promised = self._rank.cut.state if isinstance(self._rank.cut, Unrolls) else {}
        _check_promised(state, promised, batch_size, "a state holds what unrolls promise of it")
        return state

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Checks the decision."""
        given = observation.copy()
        decision = self._policy.act(given, state, explore=explore)
        require(np.array_equal(given, observation), "`act` leaves observations as they are; it has written into them")
        self._check_decision(decision, len(observation))
        if not explore:
            promise = "unless it explores, `act` returns what `Algorithm.values` names"
            _check_promised(decision.extras, self._values, len(observation), promise)
        parts = {"action": decision.action, "encoded": decision.encoded, **decision.extras, **decision.state}
        for name, part in parts.items():
            require(
                part is None or not np.shares_memory(part, given),
                f"`act` copies what it keeps of an observation, which is overwritten; {name} lies in its memory",
            )
        return decision

    def refresh(self, observation: Array) -> Refreshed:
        """Checks what was found out."""
        given, extras = observation.copy(), self._rank.cut.extras
        refreshed = self._policy.refresh(given)
        require(np.array_equal(given, observation), "`refresh` leaves observations as they are; it has written into it")
        unknown = refreshed.extras.keys() - extras.keys()
        require(not unknown, f"`refresh` finds out extras that are stored; {', '.join(sorted(unknown))} are none")
        specs = {name: extras[name] for name in refreshed.extras}
        _check_promised(refreshed.extras, specs, len(observation), "`refresh` returns extras as they are stored")
        _check_priority(refreshed.priority, len(observation), "new priorities")
        return refreshed

    def encode(self, observation: Array) -> Array:
        """Passes it on."""
        return self._policy.encode(observation)

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Checks the state that comes of it."""
        after = self._policy.after_step(state, action, reward)
        self._check_state(after, len(action))
        return after

    def set_weights(self, weights: Weights) -> None:
        """Passes them on."""
        self._policy.set_weights(weights)

    def weights(self) -> Mapping[str, Array]:
        """Passes them on."""
        return self._policy.weights()

    def save(self) -> Saved:
        """Passes it on."""
        return self._policy.save()

    def load(self, saved: Saved) -> None:
        """Passes it on."""
        self._policy.load(saved)

    def _check_decision(self, decision: Decision, size: int) -> None:
        cut, env = self._rank.cut, self._rank.env.spec
        expected = (size, *env.action.shape)
        require(
            decision.action.shape == expected, f"actions have shape {expected}; those of `act` {decision.action.shape}"
        )
        _check_promised(decision.extras, cut.extras, size, "`act` returns the extras that are to be stored")
        _check_priority(decision.priority, size, "initial priorities")
        if isinstance(cut, Unrolls) and cut.encoded is not None:
            encoded = {} if decision.encoded is None else {"encoded": decision.encoded}
            _check_promised(encoded, {"encoded": cut.encoded}, size, "`act` returns what is to be stored")
        self._check_state(decision.state, size)

    def _check_state(self, state: State, size: int) -> None:
        found = {name: (value.shape[1:], str(value.dtype)) for name, value in state.items()}
        require(
            found == self._specs and all(len(value) == size for value in state.values()),
            f"a state keeps names, shapes and types of the initial one, {self._specs}; it has become {found}",
        )


def check_new_policy(training: Training) -> None:
    """Requires that policies act with nothing at first and with the learner's weights then; watches them from here."""
    values = training.algorithm.values(training.section)
    for rank in training.ranks:
        require(not rank.policy.weights(), "a policy acts with nothing before it is given weights; it has some")
        rank.publish()
        given, held = dict(rank.learner.weights()), dict(rank.policy.weights())
        require(
            first_difference(held, given) is None,
            "a policy acts with the weights that it was given, bit by bit; they differ in "
            f"'{first_difference(held, given)}'",
        )
        rank.watch(WatchedPolicy(rank, values))


def check_restored_policy(training: Training) -> None:
    """Requires that a policy that takes over weights and what another saved decides as that one, every time."""
    rank = training.ranks[0]
    saved = copy.deepcopy(rank.policy.save())
    check_saved(saved, "a policy")
    twin = training.algorithm.make_policy(rank.policy_context)
    twin.set_weights(Weights(0, rank.learner_step, read_only(rank.policy.weights())))
    twin.load(saved)
    for explore in (True, True, False):
        ours, theirs = (
            policy.act(rank.env.observation.copy(), rank.actor.state, explore=explore) for policy in (rank.policy, twin)
        )
        difference = first_difference(_numbers(ours), _numbers(theirs))
        require(
            difference is None,
            f"a restored policy decides as the one that was saved; with explore={explore} they differ in "
            f"'{difference}'",
        )


def check_greedy(training: Training) -> None:
    """Requires that evaluations at temperature 0 choose the same action for the same observation, every time."""
    rank, name = training.ranks[0], training.algorithm.temperature
    section = training.section.model_copy(update={name: 0.0} if name else {})
    policy = training.algorithm.make_policy(replace(rank.policy_context, config=section))
    policy.set_weights(Weights(0, rank.learner_step, read_only(rank.policy.weights())))
    first, again, third = (
        policy.act(rank.env.observation.copy(), rank.actor.state, explore=False).action for _ in range(3)
    )
    require(
        np.array_equal(first, again) and np.array_equal(first, third),
        "unless it explores, a policy takes the best action at temperature 0, the same every time; it takes "
        f"{first.tolist()}, {again.tolist()} and {third.tolist()}",
    )


def check_rows(training: Training) -> None:
    """Requires of `is_reactive` that a row's decision depends on that row alone, wherever it is in a batch."""
    rank = training.ranks[0]
    if not training.algorithm.is_reactive:
        return
    observation, state = rank.env.observation, rank.actor.state
    whole = _numbers(rank.policy.act(observation.copy(), state, explore=False))
    for row in range(len(observation)):
        part = {name: value[row : row + 1] for name, value in state.items()}
        alone = _numbers(rank.policy.act(observation[row : row + 1].copy(), part, explore=False))
        for name, value in alone.items():
            require(
                np.allclose(value[0], whole[name][row], rtol=_RELATIVE, atol=_RELATIVE),
                f"with is_reactive a decision depends on its own row alone; {name} of environment {row} is not the "
                "same without the others",
            )


def _numbers(decision: Decision) -> dict[str, Array]:
    numbers = {"action": decision.action, "priority": decision.priority, "encoded": decision.encoded}
    return {name: value for name, value in (numbers | decision.extras | decision.state).items() if value is not None}


def check_refreshed(training: Training) -> None:
    """Requires of a policy that finds out anew what is stored that it fits there."""
    if training.algorithm.refreshes:
        rank = training.ranks[0]
        rank.policy.refresh(rank.env.observation.copy())


def _check_priority(priority: Array | None, size: int, what: str) -> None:
    if priority is None:
        return
    is_good = priority.shape == (size,) and np.isfinite(priority).all()
    require(
        bool(is_good and (priority >= 0).all()), f"{what} are finite and at least 0, one per row; they are {priority}"
    )


def _check_promised(arrays: Mapping[str, Array], specs: Mapping[str, ArraySpec], size: int, promise: str) -> None:
    for name, spec in specs.items():
        require(name in arrays, f"{promise}; there is no {name}")
        value = arrays[name]
        require(
            value.shape == (size, *spec.shape) and value.dtype == np.dtype(spec.dtype),
            f"{promise}; {name} is {value.dtype} of shape {value.shape}, not {spec.dtype} of {(size, *spec.shape)}",
        )
        require(bool(np.isfinite(value).all()), f"{promise}, all finite; {name} is not")
