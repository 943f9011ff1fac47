"""Whether a run can go on from its checkpoint with the settings that it is given now; asked before any worker starts.

Nothing has to be declared for that: a learner of the saved settings and one of the new ones are built, and what they
would save is compared by names and shapes, with how episodes are cut and how much there is to do. So a setting of a new
algorithm that changes a size is found by itself, and named. Only what keeps all sizes and changes what they mean is
listed by the algorithm (`Algorithm.kept`). Budgets, periods, rates and the number of rollout workers may change.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from rlsys.api import Algorithm, LearnerContext, Unrolls
from rlsys.checkpoints.checkpoint import Opened
from rlsys.checkpoints.saved import encode
from rlsys.config import Loaded, override
from rlsys.errors import CheckpointError, ConfigError
from rlsys.files.yaml_tree import at, leaves
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.terminal import as_text
from rlsys.types import Array

_ADVICE = "Leave the override out, or launch a new run."


def check_continues(saved: Loaded, loaded: Loaded, algorithm: Algorithm, opened: Opened, *, inline: bool) -> None:
    """Refuses to go on from a checkpoint with settings to which what it holds does not fit.

    Args:
      saved: the run's experiment.
      loaded: the same with what was overridden.
      algorithm: of both.
      opened: the checkpoint; its list of parts is looked at.
      inline: whether the run goes on in one process.

    Raises:
      CheckpointError: it names the setting, both values, and what to do.
    """
    _check_parts(loaded.experiment.runtime.learners, "learners", r"learner(-\d+)?", opened, inline=inline)
    now = _spec_of(loaded, algorithm)
    _check_parts(now.runtime.replay_shards, "replay_shards", r"replay-\d+", opened, inline=inline)
    section = f"{algorithm.name}."
    before, after = saved.experiment.model_dump(mode="json"), loaded.experiment.model_dump(mode="json")
    changed = [path for path in leaves(after) if path.startswith(section) and at(after, path) != at(before, path)]
    for path in changed:
        if path.removeprefix(section) in algorithm.kept:
            raise _other(path, before, after, "what has been learned would mean something else")
    if not changed:
        return
    structure = _structure(_spec_of(saved, algorithm))
    if not (difference := _difference(structure, _structure(now))):
        return
    for path in changed:  # which of them alone makes a difference?
        try:
            spec = _spec_of(override(saved, [f"{path}={as_text(at(after, path))}"]), algorithm)
        except ConfigError:  # it needs the others
            continue
        if alone := _difference(structure, _structure(spec)):
            raise _other(path, before, after, alone)
    raise _other(changed[0], before, after, difference)


def _check_parts(count: int, name: str, pattern: str, opened: Opened, *, inline: bool) -> None:
    """The parts of a checkpoint say how many workers with a state of their own there were."""
    step, was_inline = opened.learner_step, "inline" in opened.parts
    if inline != was_inline:
        was, advice = ("with", "Add --inline") if was_inline else ("without", "Leave --inline out")
        raise CheckpointError(
            f"checkpoint {step} was written {was} --inline; a run goes on as it began. {advice}, or launch a new run."
        )
    names = {part.partition("/")[0] for part in opened.parts}
    found = 1 if inline else len([name for name in names if re.fullmatch(pattern, name)])
    if found != count:
        raise CheckpointError(
            f"runtime.{name} = {count} is not the {found} of checkpoint {step}; a resumed run keeps them, for each has "
            f"a state of its own. Set runtime.{name}={found}, or launch a new run."
        )


def _spec_of(loaded: Loaded, algorithm: Algorithm) -> RunSpec:
    return resolve(loaded, algorithm, num_cpus=os.cpu_count() or 1, num_gpus=None)


def _structure(spec: RunSpec) -> dict[str, Any]:
    """Returns name -> what a checkpoint's content must agree in."""
    learner = spec.algorithm.make_learner(
        LearnerContext(
            config=spec.section,
            env=spec.env_spec,
            seed=0,
            num_ranks=spec.runtime.learners,
            batch_size=spec.store.batch_size // spec.runtime.learners,
            unroll_length=spec.cut.length,
            is_resumed=True,
        )
    )
    world: dict[str, Array] = {}
    encode(dict(learner.save()).get("world"), world)
    arrays = {**learner.weights(), **{f"world{name}": array for name, array in world.items()}}
    cut: dict[str, Any] = {}
    if isinstance(spec.cut, Unrolls):  # a table is filled anew where segments have another form (`RunSpec.refill`)
        cut = {field.name: getattr(spec.cut, field.name) for field in fields(spec.cut)}
    return {
        **{name: f"shape {array.shape}" for name, array in arrays.items()},
        **{f"segments.{name}": value for name, value in cut.items()},
        "items of a turn": spec.store.batch_size if spec.turns is not None else None,
        "updates in all": learner.steps_left(),
    }


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describes the first difference; empty if there is none."""
    for name in [*before, *now]:
        if (old := before.get(name, "missing")) != (new := now.get(name, "missing")):
            return f"{name} would be {new} instead of {old}"
    return ""


def _other(path: str, before: Mapping[str, Any], after: Mapping[str, Any], why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} = {as_text(at(after, path))} is not the {as_text(at(before, path))} that the checkpoint was made "
        f"with: {why}. {_ADVICE}"
    )
