"""The figures of speed that README.md shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MACHINE = "2 × Intel(R) Xeon(R) Processor"
"""Of which the headlines are: figures of different machines do not belong into one table without saying so."""


@dataclass(frozen=True)
class Headline:
    """A figure: words, page, what its row in speed.jsonl or cluster.jsonl has, its name, unit, and what to reach."""

    words: str
    page: str
    row: Mapping[str, Any]
    figure: str
    unit: str = ""
    goal: str = "–"


_SEARCH = {"what": "puct", "num_actions": 4, "precision": "fp32"}
HEADLINES = (
    Headline("64 roots, 4 actions", "search", _SEARCH | {"num_roots": 64}, "value", "simulations/s", "150,000"),
    Headline("1 root, 4 actions", "search", _SEARCH | {"num_roots": 1}, "value", "simulations/s", "12,000"),
    Headline(
        "tree alone, 64 roots, 18 actions",
        "search",
        {"what": "tree alone", "num_roots": 64, "num_actions": 18},
        "value",
        "simulations/s",
        "1,500,000",
    ),
    Headline(
        "RAM Breakout, emulator included",
        "rollouts",
        {"what": "rollouts, RAM Breakout, 30 simulations, 64 environments"},
        "value",
        "moves/s",
        "1,200",
    ),
    Headline("windows of 16 rows, 256 at a time", "replay", {"unit": "batches/s"}, "value", "batches/s", "3,000"),
    Headline(
        "MuZero, FC network, batch 256, 5 unroll steps",
        "learner",
        {"what": "learner, FCNetwork, fp32, batch 256, 5 unroll steps"},
        "value",
        "updates/s",
        "30",
    ),
    Headline(
        "RTRL of one batch over the step recursion, N = 512",
        "learner",
        {"what": "gradient", "setting": "N=512 T=101 B=32"},
        "ratio",
        "",
        "49×",
    ),
    Headline(
        "muzero-breakout, 2 cores", "whole_system", {"what": "whole system, muzero-breakout"}, "moves_per_s", "moves/s"
    ),
    Headline(
        "IMPALA on CartPole over RLlib's",
        "whole_system",
        {"task": "cartpole", "system": "rllib-impala"},
        "rows_ratio",
        "",
        "5×",
    ),
    Headline(
        "IMPALA on Pong over RLlib's",
        "whole_system",
        {"task": "pong", "system": "rllib-impala"},
        "rows_ratio",
        "",
        "3.5×",
    ),
    Headline(
        "PPO on Breakout over RLlib's",
        "whole_system",
        {"task": "breakout", "system": "rllib-ppo"},
        "decisions_ratio",
        "",
        "3×",
    ),
    Headline(
        "48 rollout workers on 2 cores, of 48 times one's rate",
        "scaling",
        {"what": "48 rollout workers on an environment that sleeps 10 ms, checking"},
        "share_of_linear",
        "",
        "95 %",
    ),
)
