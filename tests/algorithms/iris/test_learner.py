"""IRIS's learner: what it does when, what it learns from, and what it begins with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from algorithms.iris.small_learners import CATCH, collected, make_learner, settings

from rlsys.algorithms.iris import ALGORITHM
from rlsys.algorithms.iris.learner import IrisLearner
from rlsys.api import LearnerContext
from rlsys.config.location import Location
from rlsys.testing.training import Training
from rlsys.types import EpisodeRecord, Reconstruction, Shown


def of(training: Training) -> IrisLearner:
    learner = training.ranks[0].learner
    assert isinstance(learner, IrisLearner)
    return learner


def test_a_run_goes_through_all_phases_and_rests_between_turns() -> None:
    training = Training(ALGORITHM, settings())
    training.publish()
    rank, seen, shown = training.ranks[0], list[str](), dict[str, Shown]()
    while of(training).steps_left():
        before = rank.decisions
        (metrics,) = training.update()
        seen.append(next(iter(metrics)).partition("/")[0])
        assert (rank.decisions > before) == (seen[-1] == "real")
        shown |= of(training).shown()
    first, later = (
        ["real", "tokenizer", "tokenizer", "tokenizer"],
        ["tokenizer"] * 2 + ["world"] * 2 + ["actor_critic"] * 2,
    )
    assert seen == [*first, "real", *later, "tokenizer", *later, "tokenizer"]
    assert rank.decisions == 2 * 120 and of(training).turns() == 2
    assert 0.0 < metrics["imagination/episode_length"] <= 3.0, "four frames"
    assert len(shown.pop("world/comparison")) > 0
    check_shown(shown)
    training.close()


def check_shown(shown: Mapping[str, Shown]) -> None:
    assert shown.keys() == {"tokenizer/reconstruction", "imagination/episodes"}
    for pair in shown["tokenizer/reconstruction"]:
        assert isinstance(pair, Reconstruction)
        assert pair.observation.shape == pair.reconstruction.shape == (len(pair.observation), 20, 16)
        assert pair.observation.dtype == pair.reconstruction.dtype == np.uint8
    lengths = [len(dream.reward) for dream in shown["imagination/episodes"] if isinstance(dream, EpisodeRecord)]
    assert 0 < len(lengths) <= 10 and all(1 <= length <= 3 for length in lengths)


def test_held_out_episodes_are_compared_with_and_never_learned_from() -> None:
    training = collected(held_out_every=2)
    learner, replay = of(training), training.ranks[0].replay
    held = replay.sequences(learner._query("world_model", held_out=True))
    known = {frame.tobytes() for frame in held.observation[held.mask]}
    learned = [replay.sequences(learner._query(kind)) for kind in ("tokenizer", "world_model", "actor_critic")]
    assert all(drawn.mask.any(axis=1).all() for drawn in (held, *learned))
    assert len(known) > 1
    metrics = learner._compare(replay)
    errors = {f"world/{kind}_error_at_{step}" for kind in ("frame", "copy", "reward") for step in (1, 10)}
    assert errors <= metrics.keys()
    assert {
        "tokenizer/held_out_loss",
        "tokenizer/held_out_reconstruction_loss",
        "world/held_out_loss",
        "world/held_out_token_accuracy",
    } <= metrics.keys()
    assert 0.0 <= metrics["world/held_out_reward_accuracy"] <= 1.0
    training.close()


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_of_windows_is_drawn_by_priority(share: float) -> None:
    training = Training(
        ALGORITHM, settings(world_model_training={"prioritized": share, "gradient_accumulation": 2}, held_out_every=3)
    )
    training.publish()
    while next(iter(training.update()[0])).partition("/")[0] != "world":
        assert not training.ranks[0].replay.priorities, "of the world model alone"
    replay = training.ranks[0].replay
    keys, priorities = replay.priorities[0]
    asked = [len(windows.key) for windows in replay.batches[-4 if share < 1 else -2 :]]
    assert asked == ([2, 2, 2, 2] if share < 1 else [4, 4])
    assert keys.tolist() == np.concatenate([windows.key for windows in replay.batches[-len(asked) :]]).tolist()
    assert ((priorities > 0.0) & (priorities <= 1.0)).all()
    training.close()


def test_windows_are_what_components_learn_from() -> None:
    training = collected(tokenizer={"critic_weight": 1.0, "critic_units": 4}, returns_rows=9)
    learner, replay = of(training), training.ranks[0].replay
    shapes = {
        kind: [part.shape[:2] for part in learner._windows(replay.sequences(learner._query(kind)))]
        for kind in ("tokenizer", "world_model", "actor_critic")
    }
    assert shapes["tokenizer"] == [(4, 1), *[(4, 9)] * 4]
    assert shapes["world_model"] == [(4, 5)] * 5
    assert shapes["actor_critic"] == [(4, 4)] * 5
    many = [learner._windows(replay.sequences(learner._query("actor_critic"))) for _ in range(10)]
    assert all(windows.mask[:, -1].all() for windows in many), "the last frame is one in which something was done"
    training.close()


def test_without_anything_held_out_all_is_compared_with() -> None:
    training = collected(held_out_every=0)
    assert of(training)._query("tokenizer").part == "all"
    assert "world/held_out_loss" in of(training)._compare(training.ranks[0].replay)
    training.close()


def test_where_no_episode_is_held_out_yet_nothing_is_compared() -> None:
    training = collected(held_out_every=1_000, rows_per_epoch=20)
    assert of(training)._compare(training.ranks[0].replay) == {"world/held_out_windows": 0.0}
    training.close()


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("load_tokenizer_from", "tokenizer"),
        ("load_world_model_from", "world_model"),
        ("load_actor_critic_from", "actor_critic"),
    ],
)
def test_a_component_begins_as_anothers(field: str, name: str) -> None:
    other = IrisLearner(LearnerContext(settings(), CATCH, seed=7))
    config = settings(**{field: Location("elsewhere")})
    reads: dict[str, Any] = {
        "read_world": {"elsewhere": other.save()["world"]}.__getitem__,
        "read_weights": {"elsewhere": other.weights()}.__getitem__,
    }
    learner, plain = make_learner(config, **reads), make_learner()
    for key, component in learner._components.items():
        ours, expected = component.model.weights(), (other if key == name else plain)._components[key].model.weights()
        assert all(np.array_equal(ours[part], expected[part]) for part in expected), key
    learner.load_weights(plain.weights(), plain.save()["world"])
    kept = learner._components[name].model.weights()
    theirs = other._components[name].model.weights()
    assert all(np.array_equal(kept[part], theirs[part]) for part in theirs), "what a setting names stays"
    resumed = make_learner(config, is_resumed=True)
    assert any(
        not np.array_equal(array, theirs[part]) for part, array in resumed._components[name].model.weights().items()
    ), "a resumed one reads nothing"


def test_one_that_sees_frames_as_they_are_publishes_no_tokenizer() -> None:
    weights = make_learner(settings(actor_critic={"use_original_frames": True})).weights()
    assert {name.partition(".")[0] for name in weights} == {"actor_critic"}
    assert {name.partition(".")[0] for name in make_learner().weights()} == {"actor_critic", "tokenizer"}


def test_a_tokenizer_that_is_fixed_stays_as_it_was() -> None:
    other = make_learner()
    config = settings(tokenizer={"train": False}, load_tokenizer_from=Location("elsewhere"))
    learner = make_learner(config, read_world={"elsewhere": other.save()["world"]}.__getitem__)
    assert not any(parameter.requires_grad for parameter in learner._tokenizer.model.network.parameters())
    ours, theirs = learner._tokenizer.model.weights(), other._tokenizer.model.weights()
    assert all(np.array_equal(ours[name], array) for name, array in theirs.items())


def test_dreaming_to_be_looked_at_changes_nothing_that_is_drawn() -> None:
    training = collected()
    learner, metrics = of(training), dict[str, float]()
    begun = learner._config.actor_critic_training.model_copy(update={"start_after_epochs": 0})
    learner._config = learner._config.model_copy(update={"actor_critic_training": begun})
    before = torch.random.get_rng_state()
    windows = learner._windows(training.ranks[0].replay.sequences(learner._query("actor_critic")))
    whole = windows._replace(mask=torch.ones_like(windows.mask))
    assert not learner._dreams(windows._replace(mask=torch.zeros_like(windows.mask)), metrics) and not metrics
    assert learner._dreams(whole, metrics).keys() == {"imagination/episodes"}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert metrics.keys() == {"imagination/episode_return", "imagination/episode_length"}
    training.close()
