from typing import Any

import pytest
import torch
from algorithms.iris.world_models.tiny_models import CPU, KINDS, SIZES, batch, make

from rlsys.algorithms.iris.world_models.interface import Imagined, WorldModel
from rlsys.algorithms.iris.world_models.memory import Memory

KIND = pytest.mark.parametrize("kind", KINDS)


def begun(model: WorldModel[Any], num_frames: int = 2, size: int = 3) -> Memory:
    """A memory of some frames."""
    known = batch(size, num_frames)
    memory = model.begin(size, CPU)
    model.observe_many(memory, known["tokens_BLK"], known["action_BL"][:, :-1])
    return memory


@KIND
def test_losses_begin_as_if_nothing_were_known(kind: str) -> None:
    losses = make(kind).losses(**batch())
    assert set(losses) == {"observation", "reward", "end"}
    if not kind.startswith("ncp"):  # whose heads do not begin near 0
        for name, num_classes in (("observation", SIZES.vocabulary), ("reward", 3), ("end", 2)):
            torch.testing.assert_close(losses[name], torch.tensor(float(num_classes)).log(), atol=0.05, rtol=0.0)


@KIND
@pytest.mark.parametrize("is_at_beginning", [False, True])
def test_blocks_that_do_not_exist_change_nothing(kind: str, is_at_beginning: bool) -> None:
    model, known = make(kind).eval(), batch(num_blocks=3)
    wrong = batch(num_blocks=1, seed=9)
    parts = ([wrong, known] if is_at_beginning else [known, wrong])[:]
    padded = {name: torch.cat([part[name] for part in parts], dim=1) for name in known}
    padded["mask_BL"][:, 0 if is_at_beginning else -1] = False
    expected = {**model.losses(**known), **model.metrics(**known)}
    found = {**model.losses(**padded), **model.metrics(**padded)}
    torch.testing.assert_close(found, expected)


@KIND
def test_a_batch_of_nothing_costs_nothing(kind: str) -> None:
    known = batch()
    known["mask_BL"].zero_()
    assert {loss.item() for loss in make(kind).losses(**known).values()} == {0.0}


@pytest.mark.parametrize(("kind", "rewards"), [*((kind, "sign") for kind in KINDS), ("transformer", "two_hot")])
def test_a_sequence_that_is_always_the_same_is_learned_and_imagined(kind: str, rewards: str) -> None:
    model = make(kind, rewards=rewards, temperature=0.0)
    known = {name: part[:1] for name, part in batch().items()}
    known["reward_BL"] = torch.tensor([[1.0, -1.0, 0.0, 1.0]])
    known["terminated_BL"] = torch.tensor([[False, False, True, False]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        loss = sum(model.losses(**known).values())
        loss.backward()
        optimizer.step()
    assert loss.item() < (0.3 if rewards == "sign" else 1.2), "a two-hot target between two atoms is never sure"
    assert all(share.item() == 1.0 for share in model.eval().metrics(**known).values())
    memory = model.begin(1, CPU)
    model.observe(memory, known["tokens_BLK"][:, 0])
    for index in range(3):
        imagined = model.imagine(memory, known["action_BL"][:, index], torch.Generator().manual_seed(0))
        assert imagined.tokens is not None
        assert imagined.tokens.tolist() == known["tokens_BLK"][:, index + 1].tolist()
        torch.testing.assert_close(imagined.reward, known["reward_BL"][:, index], atol=0.1, rtol=0.0)
        assert imagined.terminated.tolist() == known["terminated_BL"][:, index].tolist()


@KIND
def test_frames_one_by_one_are_remembered_as_many_are(kind: str) -> None:
    model, known = make(kind), batch(num_blocks=3)
    together = begun(model, num_frames=3)
    one_by_one = model.begin(3, CPU)
    for index in range(3):
        action = known["action_BL"][:, index] if index < 2 else None
        model.observe(one_by_one, known["tokens_BLK"][:, index], action)
    torch.testing.assert_close(one_by_one.state(), together.state())


@KIND
def test_what_is_imagined_is_what_is_foretold(kind: str) -> None:
    model, known = make(kind, temperature=0.0).eval(), batch(num_blocks=3)
    foretold = model.foretell(known["tokens_BLK"], known["action_BL"])
    memory = begun(model, num_frames=3)
    network = model._inference_network()
    seen = []
    network.reward.register_forward_hook(lambda _, given, out: seen.append(out))
    model.imagine(memory, known["action_BL"][:, -1], next_frame=False)
    torch.testing.assert_close(seen[0], foretold.reward[:, -1], atol=1e-5, rtol=1e-4)


@KIND
def test_rows_do_not_know_of_each_other(kind: str) -> None:
    model, action = make(kind, temperature=0.0), torch.tensor([0, 1, 2])
    together, alone = begun(model), begun(model).rows(torch.tensor([1]))
    for _ in range(2):
        all_tokens = model.imagine(together, action).tokens
        own_tokens = model.imagine(alone, action[1:2]).tokens
        assert all_tokens is not None and own_tokens is not None
        assert all_tokens[1].tolist() == own_tokens[0].tolist()


@KIND
def test_what_is_drawn_comes_from_the_generator(kind: str) -> None:
    model, action = make(kind), torch.tensor([0, 1, 2])

    def play(seed: int) -> list[Imagined]:
        memory, generator = begun(model), torch.Generator().manual_seed(seed)
        return [model.imagine(memory, action, generator) for _ in range(3)]

    torch.testing.assert_close(play(0), play(0))
    assert any((one.tokens != other.tokens).any() for one, other in zip(play(0), play(1), strict=True))


@KIND
def test_a_step_is_a_function_of_a_state_that_stays(kind: str) -> None:
    model, action = make(kind, temperature=0.0), torch.tensor([0, 1, 2])
    state = begun(model).state()
    before = {name: tensor.clone() for name, tensor in state.items()}
    after, imagined = model.step(state, action, torch.Generator().manual_seed(0))
    again, same = model.step(state, action, torch.Generator().manual_seed(0))
    torch.testing.assert_close(state, before)
    torch.testing.assert_close((dict(again), same), (dict(after), imagined))
    assert {name: part.shape for name, part in after.items()} == {name: part.shape for name, part in state.items()}


@KIND
def test_copies_that_are_differently_far_step_together(kind: str) -> None:
    model, action = make(kind, temperature=0.0), torch.tensor([0, 1, 2, 0])
    old, new = begun(model, num_frames=3, size=2).state(), begun(model, num_frames=1, size=2).state()
    order = torch.tensor([0, 2, 1, 3])
    mixed = {name: torch.cat([old[name], new[name]])[order] for name in old}
    after, imagined = model.step(mixed, action[order])
    parts = [model.step(old, action[:2]), model.step(new, action[2:])]
    expected = {name: torch.cat([part[0][name] for part in parts])[order] for name in old}
    torch.testing.assert_close(after, expected)
    tokens = [part[1].tokens for part in parts]
    assert imagined.tokens is not None
    assert imagined.tokens.tolist() == torch.cat(tokens)[order].tolist()  # type: ignore[arg-type]


@KIND
def test_without_a_next_frame_only_reward_and_end_are_drawn(kind: str) -> None:
    model, action = make(kind), torch.tensor([0, 1, 2])
    memory = begun(model)
    assert model.imagine(memory, action, next_frame=False).tokens is None
    with pytest.raises(AssertionError, match="no frame to act in"):
        model.imagine(memory, action)
    model.observe(memory, batch()["tokens_BLK"][:, 0])
    assert model.imagine(memory, action).tokens is not None, "one that was seen, instead"


@KIND
def test_memories_read_the_weights_when_one_is_begun(kind: str) -> None:
    model, action = make(kind, temperature=0.0, precision="bf16"), torch.tensor([0, 1, 2])
    memory = begun(model)
    first = model.imagine(memory.clone(), action, next_frame=False)
    with torch.no_grad():
        for parameter in model.network.end.parameters():
            parameter.zero_()
        model.network.end.out.bias[1] = 100.0
    assert model.imagine(begun(model), action, next_frame=False).terminated.all()
    assert first.reward.dtype == torch.float32


@KIND
def test_dropout_is_for_learning_only(kind: str) -> None:
    model, action = make(kind, residual_dropout=0.5, embed_dropout=0.5), torch.tensor([0, 1, 2])
    assert model.training
    plays = [model.imagine(begun(model), action, torch.Generator().manual_seed(3)) for _ in range(2)]
    torch.testing.assert_close(plays[0], plays[1])
    known = batch()
    assert model.losses(**known)["observation"] != model.losses(**known)["observation"]


@KIND
def test_rounded_products_are_nearly_the_same(kind: str) -> None:
    exact, rounded, known = make(kind), make(kind, precision="bf16"), batch()
    torch.testing.assert_close(rounded.losses(**known), exact.losses(**known), atol=0.02, rtol=0.02)
