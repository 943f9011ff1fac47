import pytest
import torch
from torch.nn import functional

from rlsys.algorithms.iris.world_models.attention import attend, causal_mask, parallel_mask


def test_a_token_sees_those_before_it() -> None:
    position = torch.arange(4)
    assert causal_mask(position, position, 2, "causal").int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 1],
    ]


def test_block_causal_it_sees_its_whole_block() -> None:
    position = torch.arange(4)
    assert causal_mask(position, position, 2, "block_causal").int().tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
    ]


def test_questions_see_earlier_blocks_and_each_other_and_nobody_sees_them() -> None:
    # Two blocks of two tokens and an action; then the questions about the second.
    assert parallel_mask(2, 3, "causal", torch.device("cpu")).int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 0, 1, 1],
        [1, 1, 1, 0, 0, 0, 1, 1],
    ]


@pytest.mark.parametrize("num_queries", [1, 3, 9])
@pytest.mark.parametrize("is_masked", [False, True])
def test_few_queries_are_computed_as_many_are(num_queries: int, is_masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 4, generator=generator) for length in (num_queries, 11, 11))
    mask = torch.rand(num_queries, 11, generator=generator) < 0.7 if is_masked else None
    weights = (q @ k.transpose(-1, -2)) / 2.0
    weights = weights if mask is None else weights.masked_fill(~mask, -torch.inf)
    torch.testing.assert_close(attend(q, k, v, mask), torch.softmax(weights, -1) @ v)
    torch.testing.assert_close(attend(q, k, v, mask), functional.scaled_dot_product_attention(q, k, v, mask))
