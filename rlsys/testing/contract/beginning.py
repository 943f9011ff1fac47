"""What the runtime relies on where a run begins: from nothing, without data, or from the networks of another run."""

import contextlib

import numpy as np

from rlsys.api import Learner, ReplayNotReady
from rlsys.testing.replay import NeverReady
from rlsys.testing.requirement import require
from rlsys.testing.saved import first_difference, leaves
from rlsys.testing.training import Training, read_only


def check_first_step(training: Training) -> None:
    """Requires that the first step begins with a sample, and changes nothing where there is none to be had."""
    before = training.save()

    def step(rank: int) -> bool:
        with contextlib.suppress(ReplayNotReady):
            training.ranks[rank].learner.step(NeverReady())
            return True
        return False

    require(not any(training.group.run(step)), "the first step begins with a sample; it did without one")
    difference = first_difference(before, training.save())
    require(
        difference is None,
        f"a step without a sample changes nothing, so that it can be repeated; it has changed '{difference}'",
    )


def check_begun_learner(training: Training) -> None:
    """Requires that a learner that begins with the weights of another acts as that one, and is new in all else."""
    rank = training.ranks[0]
    learner, (saved,) = rank.learner, training.save()
    make = training.algorithm.make_learner

    def begin(_: int) -> tuple[Learner, Learner, object, object]:
        new, begun = make(rank.learner_context), make(rank.learner_context)
        begun.load_weights(read_only(learner.weights()), saved.get("world"))
        return new, begun, new.save(), begun.save()

    ((new, begun, before, after),) = training.group.run(begin)
    given, taken = dict(learner.weights()), dict(begun.weights())
    difference = first_difference(given, taken)
    require(difference is None, f"`load_weights` takes over the weights; '{difference}' is not as it was given")
    arrays = {name for name, value in leaves(saved) if isinstance(value, np.ndarray)}
    networks = {name for name in arrays if "optimizer" not in name and "rng" not in name}
    ours, theirs = dict(leaves(before)), dict(leaves(after))
    require(ours.keys() == theirs.keys(), "a learner that begins has made no step; it saves other parts than a new one")
    changed = {name for name in ours if first_difference(ours[name], theirs[name]) is not None} - networks
    require(
        not changed,
        f"counters, optimizer and generators begin anew where the weights are those of another run; {sorted(changed)} "
        "do not",
    )
    for name in ("turns", "steps_left"):
        was, now = getattr(new, name)(), getattr(begun, name)()
        require(was == now, f"`{name}` begins anew where the weights are those of another run; it is {now}, not {was}")
