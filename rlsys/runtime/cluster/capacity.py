"""Refuses a run that its machines cannot hold, before anything is started.

What is counted here is what a run takes at the very least: rows that it is certain to store, uncompressed columns
alone, and bare processes. A run that passes may still be too large; one that is refused cannot work.
"""

import math
from collections.abc import Sequence

import numpy as np

from rlsys.api import QueueSpec, TableSpec
from rlsys.errors import ConfigError
from rlsys.replay import columns, ring, schema
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import WorkerKind
from rlsys.runtime.cluster.machine_types import MachineType, homes

_GIB = 2**30
_PROCESS_BYTES = 40 * 2**20
"""Less than any worker takes: Ray's own part of it."""
_ENVIRONMENT_BYTES = 2_000
"""Less than any simulator takes, besides what is observed."""
_MOST_DECISIONS_PER_S = 1_000_000
"""More than any run here makes."""


def check_memory(spec: RunSpec, machines: Sequence[MachineType]) -> None:
    """Refuses a run whose replay, or whose processes, cannot fit.

    Raises:
      ConfigError: what does not fit, how much it is, where, and what to do.
    """
    if isinstance(spec.store, TableSpec):
        _check_replay(spec, homes(machines, WorkerKind.SHARD))
    where = homes(machines, WorkerKind.ROLLOUT)
    room, needed = _room(where), spec.num_rollout_workers * _PROCESS_BYTES
    if needed > room:
        raise ConfigError(
            f"runtime.rollout_workers = {spec.num_rollout_workers:,} take at least {_size(needed)}; {_names(where)} "
            f"{_have(where)} {_size(room)} of memory. Lower it and raise runtime.environments_per_worker."
        )
    seen = spec.env_spec.policy_observation
    observed = math.prod(seen.shape) * np.dtype(seen.dtype).itemsize
    needed += spec.num_environments * (_ENVIRONMENT_BYTES + observed)
    if needed > room:
        raise ConfigError(
            f"{spec.num_environments:,} environments (runtime.rollout_workers × runtime.environments_per_worker) take "
            f"at least {_size(needed)}; {_names(where)} {_have(where)} {_size(room)} of memory. Lower either."
        )


def check_reserved(spec: RunSpec, machines: Sequence[MachineType]) -> None:
    """Refuses a run whose rollout workers would wait for ever: they reserve more cores than all machines have.

    Raises:
      ConfigError: what is reserved, how much there is, and what to do.
    """
    runtime, where = spec.runtime, homes(machines, WorkerKind.ROLLOUT)
    cpus, places = runtime.rollout_cpus, sum(found.count * found.cpus for found in where)
    if cpus * spec.num_rollout_workers > places:
        raise ConfigError(
            f"runtime.rollout_workers = {spec.num_rollout_workers:,} reserve {cpus:g} CPUs each "
            f"(runtime.rollout_cpus); {_names(where)} {_have(where)} {places:,}. Lower either, or add machines."
        )


def most_items(spec: RunSpec) -> int:
    """Returns how many items the store holds at most before the run's budget is spent."""
    table, run = spec.store, spec.run
    if isinstance(table, QueueSpec):
        return spec.replay_size
    most = [float(table.max_size)]
    if run.env_steps is not None:
        most.append(run.env_steps)
    if run.minutes is not None:
        most.append(60 * run.minutes * _MOST_DECISIONS_PER_S)
    if table.samples_per_insert is not None:
        sampled = run.training_steps * table.batch_size + table.error_buffer
        most.append(table.min_size_to_sample + sampled / table.samples_per_insert)
    return math.ceil(min(most))


def _check_replay(spec: RunSpec, where: Sequence[MachineType]) -> None:
    table, shards = spec.store, spec.runtime.replay_shards
    specs = schema.column_specs(spec.stored_env, spec.cut)
    stored = most_items(spec) * ring.slot_bytes(specs)
    # A column is one piece of memory from the start, and no system gives out one that is larger than all it has.
    column = table.max_size * max(columns.slot_bytes(spec) for spec in specs.values())
    needed = min(max(stored, column), table.max_bytes or math.inf)
    room = _room(where)
    largest = max((found.memory_bytes or math.inf for found in where), default=math.inf)
    if needed > room or needed / shards > largest:
        raise ConfigError(
            f"replay of {table.max_size:,} items takes at least {_size(needed)} in {shards} shards "
            f"(runtime.replay_shards); {_names(where)} {_have(where)} {_size(room)} of memory, at most "
            f"{_size(largest)} in one machine. Keep fewer items in {spec.algorithm.name}'s table, or give the shards "
            "more memory."
        )


def _room(where: Sequence[MachineType]) -> float:
    """Returns the bytes of memory of all these machines; infinite where that is not known."""
    return sum(found.count * (found.memory_bytes or math.inf) for found in where)


def _names(where: Sequence[MachineType]) -> str:
    return ", ".join(f"{found.count} × {found.name}" if found.count > 1 else found.name for found in where)


def _have(where: Sequence[MachineType]) -> str:
    return "has" if sum(found.count for found in where) == 1 else "have"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / _GIB:,.1f} GiB"
