"""What several learner ranks rely on, and whoever restores them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rlsys.api import Learner
from rlsys.testing.contract.updates import Update
from rlsys.testing.processes import RankGroup
from rlsys.testing.replay import RepeatedReplay
from rlsys.testing.requirement import require
from rlsys.testing.saved import check_saved, first_difference, leaves
from rlsys.testing.training import Training


def check_ranks(training: Training) -> None:
    """Requires that all ranks have the same weights and the same world model."""
    first, saved = training.ranks[0], training.save()
    for rank in training.ranks[1:]:
        difference = first_difference(dict(first.learner.weights()), dict(rank.learner.weights()))
        step = f"after {rank.learner_step} updates" if rank.learner_step else "at the beginning"
        require(difference is None, f"all ranks have the same weights; {step} they differ in '{difference}'")
    for other in saved[1:]:
        difference = first_difference(saved[0].get("world"), other.get("world"))
        require(difference is None, f"all ranks have the same world model; theirs differ in '{difference}'")


def check_draws(training: Training) -> None:
    """Requires that ranks draw differently, where they draw."""
    generators = [_generators(saved) for saved in training.save()]
    require(
        not generators[0] or all(first_difference(generators[0], other) is not None for other in generators[1:]),
        "ranks draw from `draw_seed`, each something else; all generators that they save are the same",
    )


def check_restored_ranks(training: Training, update: Update) -> None:
    """Requires that learners that take over what others saved make the same next step, bit by bit, on every rank.

    Args:
      training: just after an update.
      update: that one.
    """
    ranks = training.ranks
    group = RankGroup(len(ranks), seed=77)
    world = {"world": update.saved[0]["world"]} if "world" in update.saved[0] else {}

    def restore(index: int) -> Learner:
        check_saved(update.saved[index], "a learner")
        context = replace(
            ranks[index].learner_context,
            seed=99,
            is_resumed=True,
            average=lambda tensors: group.average(index, tensors),
        )
        learner = training.algorithm.make_learner(context)
        learner.load({**update.saved[index], **world})
        return learner

    learners = group.run(restore)
    replays = [RepeatedReplay(rank.replay.batches) for rank in ranks]
    metrics = group.run(lambda index: learners[index].step(replays[index]))
    saved, theirs = training.save(), group.run(lambda index: learners[index].save())
    for index, rank in enumerate(ranks):
        other = learners[index]
        pairs: Mapping[str, tuple[object, object]] = {
            "metrics": (dict(update.metrics[index]), dict(metrics[index])),
            "weights": (dict(rank.learner.weights()), dict(other.weights())),
            "priorities": (_listed(rank.replay.priorities), _listed(replays[index].priorities)),
            "`turns`": (rank.learner.turns(), other.turns()),
            "`steps_left`": (rank.learner.steps_left(), other.steps_left()),
            "what is saved": (saved[index], theirs[index]),
        }
        for name, (ours, same) in pairs.items():
            difference = first_difference(ours, same)
            require(
                difference is None,
                f"a restored learner makes the same next step; after update {rank.learner_step} of rank {index} {name} "
                f"of the two differ{f' in {difference!r}' if difference else ''}",
            )


def _listed(pairs: Sequence[tuple[object, object]]) -> list[list[object]]:
    return [list(pair) for pair in pairs]


def _generators(saved: object) -> dict[str, object]:
    return {name: value for name, value in leaves(saved) if "rng" in name}
