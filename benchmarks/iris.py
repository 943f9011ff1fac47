"""IRIS's parts alone at full size: imagined steps and updates per second, beside the same modules run plainly in fp32.

    OMP_NUM_THREADS=1 python benchmarks/iris.py [--device cuda] [--batch B] [--horizon T] [--turns N] [--json FILE]

Frames of 64 × 64 from memory, weights random; neither Ray nor environments are needed. An imagined step is a policy's
decision, the world model's next frame and its picture. Plainly means: all tokens so far go through the network again
for each that is drawn, nothing is rounded, and nothing is kept. Updates are on B frames, windows or imagined episodes,
plainly in fp32. All of a kind take turns. On a CPU one thread computes and its own time counts; on a GPU, the wall's.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from clock import shortest_s
from rows import json_option, positive, publish
from torch import Tensor

from rlsys.algorithms.iris.components import Windows
from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.imagination import imagine
from rlsys.algorithms.iris.learner import IrisLearner
from rlsys.algorithms.iris.world_models.drawing import draw
from rlsys.algorithms.iris.world_models.interface import Imagined, WorldModel
from rlsys.api import LearnerContext
from rlsys.types import ArraySpec, EnvSpec

_ENV = EnvSpec("Atari", ArraySpec((3, 64, 64), "uint8"), ArraySpec((), "int64"), num_actions=4)
_MODELS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "transformer, a frame in one pass": {"frames": "parallel", "attention": "block_causal"},
}
_LENGTH = 20


@dataclass(frozen=True)
class Row:
    """One kind of work: how often per second, plainly, and how many times as often."""

    what: str
    device: str
    per_s: float
    plain_per_s: float
    ratio: float


class Plain:
    """A world model without a memory: it is given all tokens so far, again and again."""

    def __init__(self, model: WorldModel[Any]) -> None:
        """Takes the model."""
        self._model = model

    def begin(self, batch: int, device: torch.device) -> dict[str, Tensor]:
        """Returns the tokens and actions of nothing."""
        tokens = self._model.sizes.tokens
        nothing = torch.zeros((batch, 0), dtype=torch.int64, device=device)
        return {"tokens": nothing[:, :, None].expand(-1, -1, tokens), "action": nothing}

    def observe(self, memory: dict[str, Tensor], tokens_BK: Tensor) -> None:
        """Remembers a frame."""
        memory["tokens"] = torch.cat([memory["tokens"], tokens_BK[:, None]], dim=1)

    @torch.no_grad()
    def imagine(self, memory: dict[str, Tensor], action_B: Tensor, frame: Tensor | None = None) -> Imagined:
        """Draws what comes of a step."""
        model, tokens = self._model, memory["tokens"]
        action = memory["action"] = torch.cat([memory["action"], action_B[:, None]], dim=1)
        size = model.sizes.tokens
        foretold = model.foretell(tokens, action)
        frame, nothing = torch.zeros_like(tokens[:, :1]), torch.zeros_like(action[:, :1])
        at_once = size if model.config.frames == "parallel" else 1
        for index in range(0, size, at_once):
            logits = model.foretell(torch.cat([tokens, frame], 1), torch.cat([action, nothing], 1)).token[:, -size:]
            frame[:, 0, index : index + at_once] = draw(logits[:, index : index + at_once], None)
        self.observe(memory, frame[:, 0])
        reward, terminated = model.rewards.draw(foretold.reward[:, -1], None), draw(foretold.end[:, -1], None)
        return Imagined(reward, terminated.bool(), frame[:, 0])


def make(model: dict[str, Any], device: str, precision: str) -> IrisLearner:
    """Returns a learner at full size."""
    section = IrisConfig.model_validate({"precision": precision, "world_model": {**model, "precision": precision}})
    return IrisLearner(LearnerContext(section, _ENV, seed=0, device=device))


def windows(batch: int, length: int, device: str) -> Windows:
    """Returns windows of noise."""
    rng = np.random.default_rng(0)
    frame = torch.from_numpy(rng.integers(0, 256, (batch, length, 3, 64, 64), np.uint8))
    action = torch.from_numpy(rng.integers(0, 4, (batch, length)))
    never = torch.zeros((batch, length), dtype=torch.bool)
    parts = (frame, action, torch.zeros(batch, length), never, ~never)
    return Windows(*(part.to(device) for part in parts))


def dreaming(learner: IrisLearner, world_model: Any, batch: int, horizon: int, device: str) -> Callable[[], object]:
    """Returns what imagines so many episodes, each from a frame."""
    begun = windows(batch, 1, device)
    tokenizer, actor_critic = learner._tokenizer, learner._actor_critic.model

    @torch.no_grad()
    def work() -> object:
        with actor_critic.precision:
            return imagine(tokenizer.tokenizer, world_model, actor_critic.network, begun.frame, begun.mask, horizon)

    return work


def imagining(batch: int, horizon: int, device: str, turns: int) -> list[Row]:
    """Returns the rows of imagined steps."""
    rows = []
    for name, model in _MODELS.items():
        ours, plain = make(model, device, "bf16"), make(model, device, "fp32")
        plainly: Any = Plain(plain._world_model.model.network)
        works = [
            dreaming(ours, ours._world_model.model.network, batch, horizon, device),
            dreaming(plain, plainly, batch, horizon, device),
        ]
        rows.append(_row(f"imagined steps, {name}", works, batch * (horizon - 1), device, turns))
    return rows


def updating(batch: int, device: str, turns: int) -> list[Row]:
    """Returns the rows of updates."""
    learners = [make({}, device, precision) for precision in ("bf16", "fp32")]
    lengths = {"tokenizer": 1, "world_model": _LENGTH, "actor_critic": 1}
    rows = []
    for name, length in lengths.items():
        given = windows(batch, length, device)
        works = [functools.partial(learner._components[name].step, [given]) for learner in learners]
        rows.append(_row(f"updates, {name.replace('_', ' ')}, {batch} × {length}", works, 1, device, turns))
    return rows


def _row(what: str, works: list[Callable[[], object]], amount: int, device: str, turns: int) -> Row:
    best = [float("inf"), float("inf")]
    for turn in range(turns + 1):
        for index, work in enumerate(works):
            seconds = shortest_s(work, device, turns=1)
            if turn:  # the first one warms up
                best[index] = min(best[index], seconds)
    return Row(what, device, round(amount / best[0], 3), round(amount / best[1], 3), round(best[1] / best[0], 2))


def measure(batch: int, horizon: int, device: str, turns: int) -> list[Row]:
    """Returns all rows."""
    return [*imagining(batch, horizon, device, turns), *updating(batch, device, turns)]


def _line(row: Row) -> str:
    return f"{row.what:52} {row.per_s:10,.3f} per second, plainly {row.plain_per_s:10,.3f}: {row.ratio:.2f}×"


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=positive(int), default=16, metavar="B")
    parser.add_argument("--horizon", type=positive(int), default=6, metavar="T")
    parser.add_argument("--turns", type=positive(int), default=1, metavar="N")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    command = f"OMP_NUM_THREADS=1 python benchmarks/iris.py --batch {options.batch} --horizon {options.horizon}"
    publish(
        options.json, measure(options.batch, options.horizon, options.device, options.turns), _line, command=command
    )


if __name__ == "__main__":
    main()
