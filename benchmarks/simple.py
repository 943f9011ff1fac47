"""SimPLe's parts alone: simulated frames, updates of the world model and of the policy, per second.

    python benchmarks/simple.py [--device cuda] [--models NAME …] [--json FILE]

Full-size models on Atari's frames (3 × 105 × 80 bytes), batches from memory, weights random. Needs neither Ray nor
environments, so that it runs on a bare GPU machine. Each work is done twice: as the package does it (bfloat16 where the
device multiplies it, compiled on GPUs, given frames predicted from all at once), and eagerly in float32, and the two
take turns. On a CPU one thread computes and its own time counts; on a GPU, the wall's. The share of the roofline is
that of the same number of multiplications in one large matrix product of the same precision.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from clock import shortest_s
from rows import json_option, publish

from rlsys.algorithms.ppo.updates import Experience
from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.learner import SimpleLearner
from rlsys.algorithms.simple.simulated_experience import simulate
from rlsys.api import LearnerContext
from rlsys.types import ArraySpec, EnvSpec

_ENV = EnvSpec(
    "Atari", ArraySpec((3, 105, 80), "uint8"), ArraySpec((), "int64"), num_actions=6, num_stack=4, clips_rewards=True
)
_GFLOP = {"stochastic": 12.36, "deterministic": 3.89}
"""Of a frame forward; an update's are three times those of its frames."""
_DETERMINISTIC = {
    "generative_model": "deterministic",
    "target_frames": 1,
    "hidden_size": 64,
    "filter_double_steps": 2,
    "scheduled_sampling": "prediction_only",
}
_ROLLOUTS, _STEPS = 16, {"cpu": 2, "cuda": 50}
_LENGTH = 50
_TURNS = {"cpu": 2, "cuda": 5}
_MATRIX = {"cpu": 1_024, "cuda": 8_192}


@dataclass(frozen=True)
class Row:
    """One measurement: what, how, on which device, how many per second, and the share of the roofline, if any."""

    what: str
    how: str
    device: str
    per_s: float
    roofline: float | None


def peak_flops(device: str, precision: str) -> float:
    """Returns what one large matrix product reaches, in multiplications and additions per second."""
    size = _MATRIX[device]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    torch.mm(matrix, matrix)
    return 2 * size**3 / shortest_s(lambda: torch.mm(matrix, matrix), device, 5)


def make(model: str, how: str, device: str) -> SimpleLearner:
    """Returns a learner with a full-size model."""
    ours = how == "ours"
    world: dict[str, Any] = dict(_DETERMINISTIC) if model == "deterministic" else {}
    world |= {"precision": "bf16" if ours else "fp32", "compile": "auto" if ours else "no"}
    ppo = {"use_epochs": True, "learning_rate": 1e-4, "precision": world["precision"]}
    section = SimpleConfig.model_validate({"world_model": world, "ppo": ppo})
    return SimpleLearner(LearnerContext(section, _ENV, seed=0, device=device, batch_size=16))


def _stretched(done: Experience) -> Experience:
    """Repeats what was done until it is as long as a rollout of the default length."""
    times = -(-_LENGTH // len(done.reward))
    columns = {
        field.name: getattr(done, field.name).repeat(times, *[1] * (getattr(done, field.name).dim() - 1))
        for field in fields(done)
    }
    cut = {name: column[: _LENGTH + (name == "value")] for name, column in columns.items()}
    return Experience(**cut)


def measure(model: str, device: str) -> list[Row]:
    """Returns the rows of one model, both ways in turns."""
    learners = {how: make(model, how, device) for how in ("ours", "eager fp32")}
    config = learners["ours"]._config.world_model
    rng = np.random.default_rng(0)
    length = 4 + config.target_frames
    shape = (config.batch_size, length)
    clip = (
        torch.from_numpy(rng.integers(0, 256, (*shape, 3, 105, 80), dtype=np.uint8)).to(device),
        torch.from_numpy(rng.integers(0, 6, shape)).to(device),
        torch.from_numpy(rng.integers(-1, 2, shape).astype(np.float32)).to(device),
    )
    frame, action = clip[0][:1, :1].expand(_ROLLOUTS, 4, -1, -1, -1), clip[1][:1, :3].expand(_ROLLOUTS, -1)
    starts = frame.contiguous(), action.contiguous()
    steps, frames = _STEPS[device], config.batch_size * (length - 1 if model == "stochastic" else 1)
    best: dict[tuple[str, str], float] = {}
    for turn in range(_TURNS[device] + 1):
        for how, learner in learners.items():
            experience: list[Any] = []

            def act(learner: SimpleLearner = learner, into: list[Any] = experience) -> None:
                into[:] = [simulate(learner._world, learner._policy_updates, starts, steps, 1, learner._seen)]

            works: dict[str, Callable[[], object]] = {
                "frame": act,
                "model": lambda learner=learner: learner._world_updates.step(*clip),
                "policy": lambda learner=learner, into=experience: learner._policy_updates.learn(
                    _stretched(into[0]), 1e-4, 1
                ),
            }
            for name, work in works.items():
                seconds = shortest_s(work, device, turns=1)
                if turn:  # the first one compiles
                    best[name, how] = min(seconds, best.get((name, how), float("inf")))
    rows = []
    for how in learners:
        peak = peak_flops(device, "bf16" if how == "ours" else "fp32")
        gflop = 1e9 * _GFLOP[model]
        frames_per_s = _ROLLOUTS * steps / best["frame", how]
        updates_per_s = 1 / best["model", how]
        rows += [
            Row(f"{model}: frames, {_ROLLOUTS} at once", how, device, frames_per_s, frames_per_s * gflop / peak),
            Row(f"{model}: model updates", how, device, updates_per_s, updates_per_s * 3 * frames * gflop / peak),
            Row(f"policy iterations of {_LENGTH} × {_ROLLOUTS}", how, device, 1 / best["policy", how], None),
        ]
    return rows


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", nargs="+", choices=_GFLOP, default=list(_GFLOP))
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for model in options.models:
        command = f"python benchmarks/simple.py --device {options.device}"
        publish(options.json, measure(model, options.device), _line, command=command)


def _line(row: Row) -> str:
    share = "" if row.roofline is None else f"{row.roofline:6.0%} of the roofline"
    return f"{row.what:44} {row.how:12} {row.per_s:12,.3f} per second {share}"


if __name__ == "__main__":
    main()
