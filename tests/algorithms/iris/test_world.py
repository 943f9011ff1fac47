"""IRIS's world: what it shows, and that it goes on as the model that it is made of."""

import numpy as np
import pytest
import torch
from algorithms.iris.small_learners import CATCH, make_learner, settings

from rlsys.algorithms.iris.tokenizer.tokenizer import Before
from rlsys.algorithms.iris.world import make_world
from rlsys.api import WorldContext
from rlsys.errors import CheckpointError


def history(rows: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(256, (3, rows, 20, 16), dtype=torch.uint8, generator=generator)
    return frames, torch.randint(3, (3, rows - 1), generator=generator)


@pytest.mark.parametrize("kind", ["transformer", "ncp_single_step", "ncp_multi_step"])
def test_it_shows_reconstructions_and_foretells_as_the_model_does(kind: str) -> None:
    config = settings(world_model={"kind": kind, **({} if kind == "transformer" else {"ncp_units": 400})})
    learner = make_learner(config)
    world = make_world(WorldContext(config, CATCH, learner.save()["world"]))
    frames, actions = history()
    state = world.begin(frames, actions)
    tokenizer = learner._tokenizer.tokenizer
    shown = tokenizer.reconstruct(frames[:, -1:])
    np.testing.assert_array_equal(world.observe(state), (shown[:, 0] * 255).round().to(torch.uint8))
    after, step = world.step(state, torch.tensor([0, 1, 2]), torch.Generator().manual_seed(3))
    model = learner._world_model.model.network
    memory = model.begin(3, frames.device)
    model.observe_many(memory, tokenizer.encode(frames[:, :, None]), actions)
    imagined = model.imagine(memory, torch.tensor([0, 1, 2]), torch.Generator().manual_seed(3))
    torch.testing.assert_close(after["tokens"], imagined.tokens)
    torch.testing.assert_close(step.reward, imagined.reward)
    assert step.terminated.tolist() == imagined.terminated.tolist()


def test_differences_are_drawn_into_the_frame_that_was_acted_in() -> None:
    config = settings(tokenizer={"deltas": True}, actor_critic={"use_original_frames": True})
    learner = make_learner(config)
    world = make_world(WorldContext(config, CATCH, learner.save()["world"]))
    frames, actions = history(3)
    state = world.begin(frames, actions)
    np.testing.assert_array_equal(world.observe(state), frames[:, -1])
    tokenizer, model = learner._tokenizer.tokenizer, learner._world_model.model.network
    memory, seen = model.begin(3, frames.device), frames[:, :, None]
    model.observe_many(memory, tokenizer.encode(seen, actions), actions, seen)
    ours, theirs = (torch.Generator().manual_seed(3) for _ in range(2))
    shown = seen[:, -1] / 255
    for action in (torch.tensor([0, 1, 2]), torch.tensor([2, 0, 1])):
        state, step = world.step(state, action, ours)
        imagined = model.imagine(memory, action, theirs, frame=shown)
        assert imagined.tokens is not None
        shown = tokenizer.decode_tokens(imagined.tokens, Before(shown, action))
        torch.testing.assert_close(step.reward, imagined.reward)
        np.testing.assert_array_equal(world.observe(state), (shown[:, 0] * 255).round().to(torch.uint8))


def test_episodes_can_end_in_it() -> None:
    learner = make_learner()
    learner._world_model.model.network.network.end.out.bias.data[1] = 50.0
    frames, actions = history()
    _, step = learner._world.step(learner._world.begin(frames, actions), torch.zeros(3, dtype=torch.int64))
    assert step.terminated.all()


def test_one_of_other_sizes_is_refused() -> None:
    saved = make_learner().save()["world"]
    for changes, name in (
        ({"tokenizer": {"channels": 16}}, "tokenizer"),
        ({"world_model": {"width": 32}}, "world model"),
    ):
        with pytest.raises(CheckpointError, match=f"the {name}'s '.*' is .*Play it in its own"):
            make_world(WorldContext(settings(**changes), CATCH, saved))
