"""What an update learns from, and what comes of a few hundred."""

from typing import Any

import numpy as np
import pytest
import torch

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.learner import PlanetLearner
from rlsys.algorithms.planet.world import make_world
from rlsys.api import LearnerContext, NothingToDraw, SequenceQuery, WorldContext
from rlsys.types import Array, ArraySpec, EnvSpec, Sequences

SMALL: dict[str, Any] = {
    "model_size": 32,
    "state_size": 8,
    "head_layers": 1,
    "head_units": 32,
    "batch_size": 16,
    "length": 12,
    "learning_rate": 3e-3,
    "compare_every": 0,
}
ENV = EnvSpec("task", ArraySpec((2,), "float32"), ArraySpec((), "int64"), 2)


class Counting:
    """Episodes of a counter that one action raises and the other sets to 0; its reward is what it shows next."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def sequences(self, query: SequenceQuery) -> Sequences:
        size, length = query.batch_size, query.length
        action = self._rng.integers(2, size=(size, length))
        count = np.zeros((size, length + 1))
        count[:, 0] = self._rng.integers(3, size=size)
        for row in range(length):
            count[:, row + 1] = np.where(action[:, row] == 1, (count[:, row] + 1) % 3, 0)
        shown = np.stack([count, count == 2], axis=2).astype(np.float32)
        nothing, mask = np.zeros((size, length), np.bool_), np.ones((size, length), np.bool_)
        mask[0, length // 2 :] = False
        keys = np.zeros(size, np.int64)
        reward = count[:, 1:].astype(np.float32)
        return Sequences(shown, action, reward, nothing, nothing, {}, mask, keys, keys, np.ones(size), 1, keys)


def learner(**settings: Any) -> PlanetLearner:
    return PlanetLearner(LearnerContext(PlanetConfig(**SMALL | settings), ENV, seed=0))


def test_each_frame_comes_with_the_action_and_the_reward_that_led_to_it() -> None:
    drawn = Counting().sequences(SequenceQuery(4, 6))
    windows = learner()._windows(drawn)
    np.testing.assert_array_equal(windows.shown, drawn.observation)
    assert not windows.action[:, 0].any() and not windows.reward[:, 0].any()
    np.testing.assert_array_equal(windows.action[:, 1:].argmax(dim=-1), drawn.action)
    np.testing.assert_array_equal(windows.reward[:, 1:], windows.shown[:, 1:, 0])
    assert windows.is_frame[0].tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert windows.is_row[0].tolist() == [0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "ssm"},
        {"model": "rssm_ma"},
        {"cw_tau": (1, 2), "cell_as_prior": 0.1},
        {"future_rnn": False, "overshooting": 4, "overshooting_reward_scale": 10.0, "global_divergence_scale": 0.1},
        {"mean_only": True, "divergence_scale": 0.0},
        {"tap_cell": "rssm"},
    ],
    ids=["rssm", "ssm", "moving average", "clockwork", "first release", "deterministic", "time-agnostic"],
)
def test_every_model_learns_what_is_seen_and_what_it_is_worth(settings: dict[str, Any]) -> None:
    subject, replay = learner(**settings), Counting()
    metrics = [subject.step(replay) for _ in range(150)]  # type: ignore[arg-type]
    last = {name: float(np.mean([row[name] for row in metrics[-20:]])) for name in metrics[0]}
    assert last["world/image_loss"] < 2 * 0.919 + 0.08
    assert last["world/reward_loss"] < 0.919 + 0.12


def test_dreams_are_compared_with_what_happened() -> None:
    subject, replay = learner(compare_every=300), Counting()
    metrics = [subject.step(replay) for _ in range(300)][-1]  # type: ignore[arg-type]
    assert metrics["world/frame_error_at_1"] < 0.5 * metrics["world/copy_error_at_1"]
    assert "world/reward_error_at_1" in metrics and "world/frame_error_at_10" not in metrics
    assert metrics["world/held_out_image_loss"] == pytest.approx(metrics["world/image_loss"], rel=0.05)
    assert subject.shown() == {}


def test_without_an_episode_that_is_held_out_nothing_is_compared() -> None:
    class Early(Counting):
        def sequences(self, query: SequenceQuery) -> Sequences:
            if query.part == "held_out":
                raise NothingToDraw(query)
            assert query.held_out_every in (0, 20)
            return super().sequences(query)

    metrics = learner(compare_every=1).step(Early())  # type: ignore[arg-type]
    assert "world/image_loss" in metrics and "world/frame_error_at_1" not in metrics
    every = learner(compare_every=1, held_out_every=0).step(Early())  # type: ignore[arg-type]
    assert "world/frame_error_at_1" in every and "world/held_out_image_loss" not in every


class Pictures(Counting):
    """The same, shown by how bright a picture is."""

    def sequences(self, query: SequenceQuery) -> Sequences:
        drawn = super().sequences(query)
        shape = (*drawn.observation.shape[:2], 8, 8)
        drawn.observation = np.broadcast_to(40 * drawn.observation[:, :, :1, None], shape).astype(np.uint8)
        return drawn


PICTURE = EnvSpec("task", ArraySpec((8, 8), "uint8"), ArraySpec((), "int64"), 2)


def picture_learner(**settings: Any) -> PlanetLearner:
    return PlanetLearner(LearnerContext(PlanetConfig(**SMALL | {"image_depth": 2} | settings), PICTURE, seed=0))


def test_pictures_are_filmed_once() -> None:
    subject = picture_learner(compare_every=1)
    subject.step(Pictures())  # type: ignore[arg-type]
    shown = subject.shown()
    film, (seen, *_) = shown["world/comparison"], shown["world/reconstruction"]
    assert len(film) == 4 and len(shown["world/reconstruction"]) == 3
    assert seen.observation.shape == seen.reconstruction.shape == (12, 8, 8)
    assert seen.observation.dtype == seen.reconstruction.dtype == np.uint8
    assert film[0].observation.shape == film[0].model_observation.shape == (7, 8, 8)
    assert film[0].observation.dtype == film[0].model_observation.dtype == np.uint8
    assert subject.shown() == {}


def test_weights_are_what_acting_needs() -> None:
    subject = learner()
    names = set(subject.weights())
    assert all(name.split(".")[0] in ("encoder", "cell", "reward", "value") for name in names)
    assert {f"agent.{name}" for name in names} < set(subject.save()["world"]["parameters"])


def test_learning_goes_on_exactly_from_what_was_saved() -> None:
    first, second = learner(), learner()

    def run(subject: PlanetLearner, replay: Counting, updates: int) -> dict[str, Array]:
        for _ in range(updates):
            subject.step(replay)  # type: ignore[arg-type]
        return dict(subject.weights())

    replay = Counting()
    run(first, replay, 3)
    saved, state = first.save(), replay._rng.bit_generator.state
    expected = run(first, replay, 3)
    second.load(saved)
    replay._rng.bit_generator.state = state
    torch.manual_seed(9)
    for name, array in run(second, replay, 3).items():
        np.testing.assert_array_equal(array, expected[name])


def test_the_learning_rate_grows_over_its_ramp() -> None:
    subject, replay = learner(learning_rate_ramp=4, learning_rate=4e-3), Counting()
    rates = [subject.step(replay)["world/learning_rate"] for _ in range(6)]  # type: ignore[arg-type]
    assert rates == pytest.approx([1e-3, 2e-3, 3e-3, 4e-3, 4e-3, 4e-3])


def test_the_learning_rate_falls_by_half_again_and_again() -> None:
    subject, replay = learner(learning_rate_half_life=2, learning_rate=4e-3), Counting()
    rates = [subject.step(replay)["world/learning_rate"] for _ in range(5)]  # type: ignore[arg-type]
    assert rates == pytest.approx([4e-3, 4e-3 / 2**0.5, 2e-3, 2e-3 / 2**0.5, 1e-3])


def test_what_normalizes_pictures_goes_wherever_the_model_goes() -> None:
    subject, replay = picture_learner(normalize_pictures=True), Pictures()
    for _ in range(4):
        subject.step(replay)  # type: ignore[arg-type]
    saved = subject.save()
    mean = saved["world"]["buffers"]["agent.pictures.moments.mean"]
    np.testing.assert_allclose(mean, 40 / 256 - 0.5, atol=0.05)  # in units of what is seen
    assert mean.std() < 0.01
    np.testing.assert_array_equal(subject.weights()["pictures.moments.mean"], mean)
    again, another = (picture_learner(normalize_pictures=True) for _ in range(2))
    again.load(saved)
    another.load_weights(subject.weights(), saved["world"])
    world = make_world(WorldContext(subject._config, PICTURE, saved["world"]))
    for agent in (again._model.network.agent, another._model.network.agent, world._network.agent):
        assert agent.pictures is not None
        np.testing.assert_array_equal(agent.pictures.moments.mean, mean)
    first, second = subject.step(Pictures()), again.step(Pictures())  # type: ignore[arg-type]
    assert first == second
