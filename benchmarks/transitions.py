"""How far each of PlaNet's transition models foretells episodes that it has not learned from.

    OMP_NUM_THREADS=1 python benchmarks/transitions.py RUN [--updates N] [--seed S] [--only NAME …] [--json FILE]

Each model learns anew from what a run of PlaNet has stored until its newest checkpoint, with that run's settings:
equally many updates, from the same draws. Of its episodes one in eight is held out. There a model is shown ten frames,
and foretells fifty more from the actions alone. Its error is printed beside that of showing the last known frame, or
expecting the last known reward, for ever: mean absolute errors, of frames in levels of a byte. Frames are compared as
the model knows them, quantised.
"""

import argparse
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import torch
from rows import Implausible, json_option, positive, publish

from rlsys import registry
from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.learner import PlanetLearner
from rlsys.api import LearnerContext, SequenceQuery
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.table_writer import TableWriter
from rlsys.planning.open_loop import foretell
from rlsys.replay.table import Table
from rlsys.runs import folder as run_folder
from rlsys.runs.resolve import resolve
from rlsys.types import EnvSpec

MODELS: Mapping[str, Mapping[str, Any]] = {
    "RSSM": {},
    "RSSM, prior without its belief": {"future_rnn": False},
    "RSSM, latent overshooting": {"overshooting": 8},
    "deterministic": {"mean_only": True, "divergence_scale": 0.0},
    "SSM": {"model": "ssm"},
    "moving average": {"model": "rssm_ma"},
    "clockwork": {"cw_tau": (1, 4), "model_size": (64, 64), "state_size": (15, 15)},
    "clockwork, cell as prior": {
        "cw_tau": (1, 4),
        "model_size": (64, 64),
        "state_size": (15, 15),
        "cell_as_prior": 0.1,
    },
    "time-agnostic": {"tap_cell": "rssm"},
}
"""What it is called -> the settings that make it."""
_KNOWN, _FAR = 10, (1, 10, 50)
_HELD_OUT_EVERY = 8
_JUDGED = 128


@dataclass(frozen=True)
class Row:
    """One model: errors so many steps ahead, and those of what does not change."""

    what: str
    updates: int
    cpu_s_per_update: float
    frame_errors: tuple[float, ...]
    copy_errors: tuple[float, ...]
    reward_errors: tuple[float, ...]
    copy_reward_errors: tuple[float, ...]


@dataclass(frozen=True)
class Stored:
    """What a run has stored, and how it learned: its table draws as the run's would."""

    config: PlanetConfig
    env: EnvSpec
    table: Table

    def sequences(self, query: SequenceQuery) -> Any:
        """See `rlsys.api.Replay`."""
        return self.table.sequences(query)


def read(folder: Path) -> Stored:
    """Reads the table of a run's newest checkpoint."""
    loaded = run_folder.load(folder)
    algorithm = registry.get_algorithm("planet", "benchmarks/transitions.py")
    spec = resolve(loaded, algorithm, num_cpus=64, num_gpus=0)
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    step = checkpoints.latest()
    if step is None or spec.runtime.replay_shards != 1:
        raise Implausible(f"{folder} has no checkpoint with one replay shard; there is nothing to learn from.")
    table = Table(spec.store, spec.stored_env, spec.cut)
    opened = checkpoints.open(step)
    TableWriter("replay-0", contextlib.nullcontext).load(opened.read("replay-0"), opened, table)
    config = loaded.experiment.section.model_copy(update={"compare_every": 0, "held_out_every": _HELD_OUT_EVERY})
    return Stored(config, spec.stored_env, table)


def measure(folder: Path, what: str, updates: int, seed: int) -> Row:
    """Lets one model learn from a run, and judges it."""
    stored = read(folder)
    config = PlanetConfig.model_validate({**stored.config.model_dump(), **MODELS[what]})
    learner = PlanetLearner(LearnerContext(config, stored.env, seed=seed))
    began = process_time()
    for _ in range(updates):
        learner.step(stored)
    spent = process_time() - began
    length = _KNOWN - 1 + max(_FAR)
    held_out = SequenceQuery(_JUDGED, length, held_out_every=_HELD_OUT_EVERY, part="held_out")
    drawn = stored.sequences(held_out)
    shown, action, reward = map(torch.from_numpy, (drawn.observation, drawn.action, drawn.reward))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        foretold = foretell(learner._world, shown[:, :_KNOWN], action, generator, learner._world.show)
    known = learner._inputs.show(learner._inputs.prepare(shown[:, _KNOWN - 1 :]))
    real, last = known[:, 1:], known[:, 0]
    came, last_reward = reward[:, _KNOWN - 1 :], reward[:, _KNOWN - 2]
    at = [far - 1 for far in _FAR]
    return Row(
        what,
        updates,
        round(spent / updates, 4),
        tuple(_error(foretold.observation[:, index], real[:, index]) for index in at),
        tuple(_error(last, real[:, index]) for index in at),
        tuple(_error(foretold.reward[:, index], came[:, index]) for index in at),
        tuple(_error(last_reward, came[:, index]) for index in at),
    )


def _error(foretold: torch.Tensor, real: torch.Tensor) -> float:
    return round(float((foretold.float() - real.float()).abs().mean()), 4)


def _line(row: Row) -> str:
    pairs = zip(_FAR, row.frame_errors, row.copy_errors, row.reward_errors, row.copy_reward_errors, strict=True)
    errors = "; ".join(
        f"{far}: frame {frame:.2f} ({copy:.2f}), reward {reward:.2f} ({same:.2f})"
        for far, frame, copy, reward, same in pairs
    )
    return f"{row.what}, {row.cpu_s_per_update:.2f} CPU-s per update: {errors}"


def main() -> None:
    """Measures and prints, or appends, a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of planet")
    parser.add_argument("--updates", type=positive(int), default=1_500, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS), metavar="NAME")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    name = run_folder.load(options.run).name
    rows = [measure(options.run, what, options.updates, options.seed) for what in options.only]
    command = f"python benchmarks/transitions.py {name}/RUN --updates {options.updates}"
    publish(options.json, rows, _line, command=command, seed=options.seed)


if __name__ == "__main__":
    main()
