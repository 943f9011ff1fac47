"""Decisions that are planned in an RSSM, per second; and how many candidates planners need to swing a pole up.

    OMP_NUM_THREADS=1 python benchmarks/planning.py [--device cuda] [--turns N] [--json FILE]
    OMP_NUM_THREADS=1 python benchmarks/planning.py --swing-up [--json FILE]

A decision is PlaNet's: 1,000 candidates of 12 actions of 6 numbers, 10 iterations, a model of 200 units with 30
stochastic ones and a reward head of two layers of 100. It is made as the package makes it (on a CPU by `RSSMScore`,
with products in bfloat16, too, where those are native; on a GPU as one captured graph) and by an eager loop over
torch's modules in float32, in turns; *bound* is how often the matrix products alone could be done, in blocks of as many
rows and with factors of the same kind. On a CPU one thread computes and its own time counts. For 16 environments one
iteration is timed and counted tenfold.

With --swing-up planners that know the truth play 4 episodes of 125 decisions of a cart-pole, rewarded as the Control
Suite's, from where it hangs.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from clock import shortest_s
from rows import json_option, publish
from torch import Tensor, nn
from torch.nn import functional

from rlsys.api import WorldStep
from rlsys.nets.precision import multiplies_bfloat16
from rlsys.ops.captured import captured
from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting import rssm
from rlsys.planning.shooting.make import make_planner
from rlsys.planning.shooting.plan import Plan
from rlsys.planning.shooting.rollout import State, rollout_score
from rlsys.planning.shooting.rssm import RSSMLayers, RSSMScore
from rlsys.testing.dynamics import cart_pole_swing_up

_ACTIONS, _STATES, _UNITS, _HEAD = 6, 30, 200, 100
_PRODUCTS = (
    (_STATES + _ACTIONS, _UNITS),
    (_UNITS, 3 * _UNITS),
    (_UNITS, 3 * _UNITS),
    (_UNITS, _UNITS),
    (_UNITS, 2 * _STATES),
    (_STATES + _UNITS, _HEAD),
    (_HEAD, _HEAD),
    (_HEAD, 1),
)
"""Inputs and outputs of the products of a step."""
_CONFIG = PlannerConfig(discount=1.0)
_EPISODES, _DECISIONS, _REPEAT = 4, 125, 8
_PLANNERS: dict[str, dict[str, Any]] = {
    "CEM, 1,000 × 10": {},
    "CEM, 134 × 5": {"candidates": 134, "elites": 20, "iterations": 5},
    "iCEM, 200, 5 iterations": {"kind": "icem", "candidates": 200, "elites": 20, "iterations": 5, "warm_start": True},
    "iCEM, 100, 5 iterations": {"kind": "icem", "candidates": 100, "elites": 10, "iterations": 5, "warm_start": True},
    "MPPI, 134 × 5": {"kind": "mppi", "candidates": 134, "elites": 20, "iterations": 5, "temperature": 0.2},
}


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
      what: decisions in an RSSM, or a planner that swings a pole up.
      how: what makes the decisions.
      device: that computes.
      environments: planned for at once.
      candidates: sequences tried for a decision.
      value: decisions per second, each for all environments.
      bound: of the matrix products alone.
      share: value / bound.
      mean: return of an episode.
      interval: 95 % of the mean, by the deviation between episodes.
    """

    what: str
    how: str
    device: str
    environments: int
    candidates: int
    value: float | None = None
    bound: float | None = None
    share: float | None = None
    mean: float | None = None
    interval: tuple[float, float] | None = None


class Model:
    """An RSSM with random weights."""

    def __init__(self, device: str) -> None:
        """Draws the weights."""
        torch.manual_seed(0)
        sizes = (_STATES + _UNITS, _HEAD, _HEAD, 1)
        self.layers = RSSMLayers(
            input=nn.Linear(_STATES + _ACTIONS, _UNITS).to(device),
            belief=nn.GRUCell(_UNITS, _UNITS).to(device),
            prior_hidden=nn.Linear(_UNITS, _UNITS).to(device),
            mean=nn.Linear(_UNITS, _STATES).to(device),
            stddev=nn.Linear(_UNITS, _STATES).to(device),
            reward=[nn.Linear(before, after).to(device) for before, after in itertools.pairwise(sizes)],
        )

    def step(self, state: State, action: Tensor, generator: torch.Generator | None = None) -> tuple[State, WorldStep]:
        """Steps by torch's modules."""
        layers = self.layers
        x = functional.relu(layers.input(torch.cat([state["sample"], action], dim=1)))
        belief = layers.belief(x, state["belief"])
        hidden = functional.relu(layers.prior_hidden(belief))
        mean, stddev = layers.mean(hidden), functional.softplus(layers.stddev(hidden)) + layers.min_stddev
        sample = mean + stddev * torch.randn(mean.shape, device=mean.device, generator=generator)
        features = torch.cat([sample, belief], dim=1)
        for layer in layers.reward[:-1]:
            features = functional.relu(layer(features))
        reward = layers.reward[-1](features)[:, 0]
        return {"sample": sample, "belief": belief}, WorldStep(reward, torch.zeros_like(reward, dtype=torch.bool))


def _products(rows: int, steps: int, device: str, dtype: torch.dtype = torch.float32) -> Callable[[], None]:
    """Returns the products of so many steps of so many rows, a block at a time on a CPU."""
    block = min(rows, rssm._BLOCK) if device == "cpu" else rows
    shapes = [((block, a), (a, b), (block, b)) for a, b in _PRODUCTS]
    matrices = [[torch.randn(shape, device=device, dtype=dtype) for shape in group] for group in shapes]

    def work() -> None:
        for _ in range(steps * rows // block):
            for left, right, out in matrices:
                torch.mm(left, right, out=out)

    return work


@torch.no_grad()
def measure(environments: int, device: str, turns: int) -> list[Row]:
    """Returns the rows of decisions for so many environments, made both ways in turns."""
    iterations = max(1, _CONFIG.iterations // environments)
    config = _CONFIG.model_copy(update={"iterations": iterations})
    model, planner = Model(device), make_planner(config, _ACTIONS, discrete=False)
    generator = torch.Generator(device).manual_seed(0)
    state = {
        "sample": torch.randn(environments, _STATES, device=device),
        "belief": torch.randn(environments, _UNITS, device=device).tanh(),
    }

    def eager(inputs: Mapping[str, Tensor]) -> Plan:
        score = rollout_score(model.step, inputs, discount=1.0, generator=generator)
        return planner.plan(score, planner.begin(environments, device), generator)

    def fused(dtype: torch.dtype) -> Plan:
        places = state["sample"], state["belief"]
        score = RSSMScore(model.layers, *places, discount=1.0, generator=generator, dtype=dtype)
        return planner.plan(score, planner.begin(environments, device), generator)

    graph = captured(eager, torch.device(device), generator)
    amount = environments * config.candidates, iterations * config.horizon
    bound = _products(*amount, device)
    works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "ours": ((lambda: fused(torch.float32)) if device == "cpu" else (lambda: graph(state)), bound),
        "eager fp32": (lambda: eager(state), bound),
    }
    if device == "cpu" and multiplies_bfloat16(torch.device(device)):
        works["ours, bf16"] = (lambda: fused(torch.bfloat16), _products(*amount, device, torch.bfloat16))
    timed = {work for pair in works.values() for work in pair}
    best = dict.fromkeys(timed, math.inf)
    for work in timed:
        work()  # compiles or records
    for _ in range(turns):
        for work in timed:
            best[work] = min(best[work], shortest_s(work, device, turns=1))
    tried, part = _CONFIG.candidates * _CONFIG.iterations, iterations / _CONFIG.iterations
    return [
        Row(
            "a decision",
            how,
            device,
            environments,
            tried,
            part / best[work],
            part / best[least],
            best[least] / best[work],
        )
        for how, (work, least) in works.items()
    ]


def swing_up(name: str, settings: Mapping[str, Any]) -> Row:
    """Plays episodes with a planner that knows the truth."""
    config = PlannerConfig.model_validate({"discount": 1.0, **settings})
    planner, generator = make_planner(config, 1, discrete=False), torch.Generator().manual_seed(0)
    start = torch.tensor([0.0, 0.0, math.pi, 0.0]) + 0.01 * torch.randn(_EPISODES, 4, generator=generator)
    state: State = {"cart": start}
    belief, total = planner.begin(_EPISODES, "cpu"), torch.zeros(_EPISODES)
    for _ in range(_DECISIONS):
        plan = planner.plan(rollout_score(cart_pole_swing_up, state, discount=1.0), belief, generator)
        belief = plan.belief
        state, (reward, _) = cart_pole_swing_up(state, plan.action)
        total += _REPEAT * reward
    amount = sum(planner.candidates)
    mean, half = float(total.mean()), 3.18 * float(total.std()) / math.sqrt(_EPISODES)
    return Row("cart-pole swings up", name, "cpu", _EPISODES, amount, mean=mean, interval=(mean - half, mean + half))


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--swing-up", action="store_true", help="count candidates rather than seconds")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.swing_up:
        command = "OMP_NUM_THREADS=1 python benchmarks/planning.py --swing-up"
        publish(options.json, [swing_up(*planner) for planner in _PLANNERS.items()], _line, command=command)
        return
    command = f"OMP_NUM_THREADS=1 python benchmarks/planning.py --device {options.device}"
    for environments in (1, 16):
        publish(options.json, measure(environments, options.device, options.turns), _line, command=command)


def _line(row: Row) -> str:
    if row.mean is not None and row.interval is not None:
        low, high = row.interval
        return f"{row.what}: {row.how:26} {row.candidates:7,} candidates  {row.mean:5.0f} ({low:.0f} to {high:.0f})"
    return (
        f"{row.what}: {row.how:12} {row.environments:3} environments {row.value or 0:8.3f} per second, "
        f"{row.share or 0:5.1%} of {row.bound or 0:.3f}"
    )


if __name__ == "__main__":
    main()
