"""SimPLe's world, against calls of the network one by one: it is the learner's, and another game's is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from algorithms.simple.small_learners import CATCH, SMALL, Collected, make_learner
from support.worlds import FLOAT, SMALL_DETERMINISTIC, clips
from support.worlds import SMALL as SMALL_STOCHASTIC

from rlsys.algorithms.simple import ALGORITHM
from rlsys.algorithms.simple.networks import WorldModel
from rlsys.algorithms.simple.world import SimpleWorld, make_world
from rlsys.api import WorldContext
from rlsys.errors import CheckpointError
from rlsys.types import ArraySpec


def test_a_state_kept_is_the_state_of_the_whole_history() -> None:
    network = WorldModel(SMALL_STOCHASTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 7)
    world = SimpleWorld(network, network, FLOAT, CATCH)
    begun = world.begin(frames[:, :4, 0], actions[:, :3])
    torch.manual_seed(0)
    then, _ = world.step(begun, actions[:, 3])
    last, _ = world.step(then, actions[:, 4])
    first, second = world.observe(then)[:, None], world.observe(last)[:, None]
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(first, network(frames[:, 3], actions[:, 3], network.begin(frames[:, :4])).frame)
        history = torch.cat([frames[:, :4], first[:, None]], dim=1)
        assert torch.equal(second, network(history[:, -1], actions[:, 4], network.begin(history)).frame)
    assert torch.equal(last["stack"][:, :2], frames[:, 2:4])
    assert torch.equal(begun["stack"], frames[:, :4])


def test_what_the_model_is_unsure_of_can_be_rewarded() -> None:
    network = WorldModel(SMALL_DETERMINISTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(2, 4)
    rewards = []
    for scale in (0.0, 1e-3):
        world = SimpleWorld(network, network, FLOAT, CATCH, intrinsic_reward_scale=scale)
        rewards.append(world.step(world.begin(frames[:, :, 0], actions[:, :3]), actions[:, 3])[1].reward)
    with torch.no_grad():
        logits = network(frames[:, 3], actions[:, 3], frames[:, :3]).pixel_logits
    surprise = -torch.log_softmax(logits, dim=-1).amax(dim=-1)
    expected = 1e-3 * (surprise - 0.02).clamp_min(0).flatten(start_dim=1).sum(dim=1) / 10
    torch.testing.assert_close(rewards[1] - rewards[0], expected.clamp(max=1.0))


def test_bits_are_drawn_from_the_generator_that_is_given_and_else_from_torchs_stream() -> None:
    network = WorldModel(SMALL_STOCHASTIC, 1, (20, 16), 3).eval()
    frames, actions, _ = clips(8, 4)
    world = SimpleWorld(network, network, FLOAT, CATCH)
    state = world.begin(frames[:, :, 0], actions[:, :3])
    torch.manual_seed(3)
    from_stream = world.step(state, actions[:, 3])[0]["stack"]
    before = torch.random.get_rng_state()
    drawn = world.step(state, actions[:, 3], torch.Generator().manual_seed(3))[0]["stack"]
    assert torch.equal(drawn, from_stream)
    assert not torch.equal(world.step(state, actions[:, 3], torch.Generator().manual_seed(4))[0]["stack"], drawn)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_world_is_what_the_learner_has_learned() -> None:
    learner, replay = make_learner(), Collected()
    for _ in range(4):
        learner.step(replay)
    world = make_world(WorldContext(SMALL, CATCH, learner.save()["world"]))
    frames, actions, _ = clips(2, 4)
    ours, theirs = (each.begin(frames[:, :, 0], actions[:, :3]) for each in (world, learner._world))
    (ours, step), (theirs, expected) = (
        each.step(state, actions[:, 3], torch.Generator().manual_seed(7))
        for each, state in ((world, ours), (learner._world, theirs))
    )
    assert torch.equal(world.observe(ours), learner._world.observe(theirs))
    assert world.observe(ours).shape == (2, 20, 16)
    assert torch.equal(step.reward, expected.reward)
    assert not step.terminated.any()


def test_a_world_model_for_another_size_is_refused() -> None:
    saved = make_learner().save()["world"]
    other = replace(CATCH.with_observation(ArraySpec((3, 20, 16), "uint8")), id="other")
    with pytest.raises(CheckpointError, match=r"made for another game, frame size or model than 'other'"):
        ALGORITHM.make_world(WorldContext(SMALL, other, saved))


@pytest.mark.parametrize("saved", [None, {}, {"parameters": None}, {"parameters": {"pixels.weight": 1.0}}])
def test_what_is_no_world_model_is_refused(saved: Any) -> None:
    with pytest.raises(CheckpointError, match=r"is missing, here it has to be"):
        ALGORITHM.make_world(WorldContext(SMALL, CATCH, saved))
    with pytest.raises(CheckpointError, match=r"is missing, here it has to be"):
        make_learner()._world_updates.load_world(saved)
