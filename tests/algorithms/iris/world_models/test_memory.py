import torch

from rlsys.algorithms.iris.world_models.memory import Memory, memories, put_together


def memory(*values: float, known: int) -> Memory:
    return Memory({"x": torch.tensor(values).unsqueeze(1)}, known, fed=known - 1)


def test_clones_and_rows_go_on_by_themselves() -> None:
    first = memory(1.0, 2.0, known=3)
    cloned, rows = first.clone(), first.rows(torch.tensor([1, 1, 0]))
    first.tensors["x"].zero_()
    assert cloned.tensors["x"].flatten().tolist() == [1.0, 2.0]
    assert rows.tensors["x"].flatten().tolist() == [2.0, 2.0, 1.0] and (rows.known, rows.fed) == (3, 2)


def test_a_state_of_copies_that_are_differently_far_falls_into_memories_and_back() -> None:
    parts = [
        (torch.tensor([2, 0]), memory(2.0, 0.0, known=5).state()),
        (torch.tensor([1]), memory(1.0, known=3).state()),
    ]
    state = put_together(parts)
    assert state["x"].flatten().tolist() == [0.0, 1.0, 2.0] and state["known"].tolist() == [5, 3, 5]
    found = {
        part.known: (index.tolist(), part.fed, part.tensors["x"].flatten().tolist()) for index, part in memories(state)
    }
    assert found == {3: ([1], 2, [1.0]), 5: ([0, 2], 4, [0.0, 2.0])}


def test_what_is_done_in_memories_leaves_the_state_alone() -> None:
    state = memory(1.0, 2.0, known=1).state()
    for _, part in memories(state):
        part.tensors["x"].zero_()
    assert state["x"].flatten().tolist() == [1.0, 2.0]
