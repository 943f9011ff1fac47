"""Search against what mctx found in the same models: masked or not, for one player and for two."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlsys.planning.mcts import SearchResult, gumbel_search, puct_search
from rlsys.planning.model import RecurrentOutput, RootOutput
from rlsys.types import Array

CASES = json.loads((Path(__file__).parent / "golden" / "searches.json").read_text(encoding="utf-8"))
NUM_STATES, NUM_ROOTS = 97, 4


class Table:
    """The model of a case: a world of numbered states. The draws are those of `write_golden_searches.py`."""

    def __init__(self, case: dict[str, Any]) -> None:
        rng, num_actions = np.random.default_rng(case["seed"]), case["num_actions"]
        self.value = torch.from_numpy(rng.standard_normal(NUM_STATES)).float()
        self.reward = torch.from_numpy(rng.standard_normal((NUM_STATES, num_actions))).float()
        self.prior_logits = torch.from_numpy(rng.standard_normal((NUM_STATES, num_actions))).float()
        self.successor = torch.from_numpy(rng.integers(NUM_STATES, size=(NUM_STATES, num_actions)))
        self.gumbel_BA: Array = rng.gumbel(size=(NUM_ROOTS, num_actions))
        self.is_masked_BA: Array = (rng.random((NUM_ROOTS, num_actions)) < 0.4) & case["masked"]
        self.is_masked_BA[np.arange(NUM_ROOTS), rng.integers(num_actions, size=NUM_ROOTS)] = False

    def root(self) -> RootOutput:
        state_B = torch.arange(NUM_ROOTS)
        logits_BA = self.prior_logits[state_B].masked_fill(torch.from_numpy(self.is_masked_BA), -torch.inf)
        return RootOutput(self.value[state_B], logits_BA, state_B[:, None].float())

    def recurrent(self, embedding: torch.Tensor, action_B: torch.Tensor) -> RecurrentOutput:
        state_B = embedding[:, 0].long()
        next_B = self.successor[state_B, action_B]
        reward_B = self.reward[state_B, action_B]
        return RecurrentOutput(self.value[next_B], reward_B, self.prior_logits[next_B], next_B[:, None].float())


def assert_same(result: SearchResult, golden: dict[str, Any]) -> None:
    assert result.tree.parent[:, 1:].tolist() == golden["parent"]
    assert result.tree.parent_action[:, 1:].tolist() == golden["parent_action"]
    np.testing.assert_allclose(np.nan_to_num(result.q_values), golden["q_values"], rtol=0, atol=1e-4)


def test_the_cases_are_with_masks_and_without_for_one_player_and_for_two() -> None:
    assert {(case["masked"], case["discount"] < 0) for case in CASES} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert any(Table(case).is_masked_BA.any() for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['num_actions']}-{case['masked']}-{case['discount']}")
def test_gumbel_finds_what_mctx_finds(case: dict[str, Any]) -> None:
    model = Table(case)
    result = gumbel_search(
        model.recurrent,
        model.root(),
        num_simulations=case["num_simulations"],
        discount=case["discount"],
        gumbel_BA=model.gumbel_BA,
        max_num_considered_actions=case["max_num_considered_actions"],
        value_scale=case["value_scale"],
    )
    assert_same(result, case["gumbel"])
    assert result.action.tolist() == case["gumbel"]["action"]
    np.testing.assert_allclose(result.policy, case["gumbel"]["policy"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['num_actions']}-{case['masked']}-{case['discount']}")
def test_puct_finds_what_mctx_finds_with_its_score(case: dict[str, Any]) -> None:
    model = Table(case)
    options = {"num_simulations": case["num_simulations"], "discount": case["discount"]}
    assert_same(puct_search(model.recurrent, model.root(), **options), case["puct"])
