"""`rlsys plan`: measures what a plan's parts cost here, and says what it will do on the machines given."""

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rlsys import registry
from rlsys.api import QueueSpec
from rlsys.config import Loaded
from rlsys.forecast.calibration import measure
from rlsys.forecast.costs import Costs
from rlsys.forecast.prediction import Prediction, predict
from rlsys.metrics.formatting import duration
from rlsys.process import prepare
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.capacity import check_memory, check_reserved
from rlsys.runtime.cluster.machine_types import MachineType, from_file, of_cluster, this_machine
from rlsys.terminal import print_table

_UNITS = ("B", "kB", "MB", "GB", "TB")


def show_outlook(loaded: Loaded, cluster_file: Path | None, seconds: float, *, as_json: bool) -> None:
    """Prints what an experiment will do.

    Args:
      loaded: the merged experiment.
      cluster_file: a file for `ray up` whose machines it gets; else those at `runtime.address`, or this one.
      seconds: how long to measure.
      as_json: print one JSON object rather than tables.

    Raises:
      RlsysError: the run cannot work, does not fit the machines, or a part of it fails.
    """
    prepare()
    machines = _machines(loaded, cluster_file)
    algorithm = registry.get_algorithm(loaded.experiment.algorithm, "rlsys plan")
    cpus = sum(found.count * found.cpus for found in machines)
    gpus = sum(found.count * found.gpus for found in machines)
    spec = resolve(loaded, algorithm, num_cpus=max(1, cpus), num_gpus=gpus)
    check_reserved(spec, machines)
    check_memory(spec, machines)
    costs = measure(spec, seconds)
    prediction = predict(spec, costs, machines)
    if as_json:
        tree = {"machines": [asdict(found) for found in machines], "costs": asdict(costs), **asdict(prediction)}
        sys.stdout.write(f"{json.dumps({**tree, 'binding': prediction.binding})}\n")
        return
    print_table(
        "Machines", ("what", "how many", "cores", "GPUs", "memory"), [_machine_row(found) for found in machines]
    )
    print_table("Memory", ("process", "how many", "each", "together"), _memory_rows(prediction))
    print_table(f"{spec.name}, profile {loaded.profile}", ("what", "predicted"), _rows(spec, prediction, costs))
    sys.stdout.write(f"{_verdict(spec, prediction)}\n")


def _machines(loaded: Loaded, cluster_file: Path | None) -> Sequence[MachineType]:
    if cluster_file is not None:
        return from_file(cluster_file)
    if loaded.experiment.runtime.address is None:
        return [this_machine()]
    from rlsys.runtime.cluster.cluster import connect

    connect(loaded.experiment.runtime)
    return of_cluster()


def _machine_row(found: MachineType) -> tuple[str, ...]:
    name = f"{found.name} ({found.role})" if found.role not in ("", found.name) else found.name
    memory = _bytes(found.memory_bytes) if found.memory_bytes else "unknown"
    return name, str(found.count), str(found.cores or "unknown"), str(found.gpus), memory


def _memory_rows(prediction: Prediction) -> list[tuple[str, ...]]:
    rows = [
        (kind.kind, str(kind.count), _bytes(kind.each_bytes), _bytes(kind.count * kind.each_bytes))
        for kind in prediction.memory
    ]
    total = sum(kind.count * kind.each_bytes for kind in prediction.memory)
    return [*rows, ("all", str(sum(kind.count for kind in prediction.memory)), "", _bytes(total))]


def _rows(spec: RunSpec, prediction: Prediction, costs: Costs) -> list[tuple[str, str]]:
    acting, size = costs.acting, spec.environments_per_worker
    step = f"simulators {_milliseconds(acting.env_s)}, deciding {_milliseconds(acting.act_s)}"
    step += f", segments {_milliseconds(acting.write_s)}, waiting {_milliseconds(acting.sleep_s)}"
    device = spec.runtime.learner_device
    update = _milliseconds(costs.learning.step_s) + f" on this machine's {costs.learning.device}"
    if costs.learning.device != device:
        update += f"; unknown on {device}"
    budget = duration(prediction.budget_s) if math.isfinite(prediction.budget_s) else "no limit is set"
    most = "" if _knows_learner(spec, prediction) else "at most "
    return [
        (f"a step of {size} environments", step),
        ("an update", update),
        ("decisions per second", f"{most}{prediction.env_steps_per_s:,.0f}"),
        (
            "CPU of a decision",
            ", ".join(f"{part} {1e6 * cpu_s:,.0f} µs" for part, cpu_s in prediction.cpu_s.items() if cpu_s),
        ),
        ("updates per second", f"{most}{prediction.updates_per_s:,.2f}"),
        ("the run's budget is spent after", f"{'at least ' if most else ''}{budget}"),
        ("replay", f"{_bytes(prediction.replay_bytes)}, {prediction.item_bytes:,.0f} bytes an item"),
        ("object store", _bytes(prediction.object_store_bytes)),
        *((f"{what} per second", _bytes(size)) for what, size in prediction.traffic.items()),
        *((f"bound: {bound.part}", f"{bound.env_steps_per_s:,.0f} decisions/s") for bound in prediction.bounds),
    ]


def _verdict(spec: RunSpec, prediction: Prediction) -> str:
    """Returns one line: what binds, and who waits for it."""
    rate, binding = prediction.env_steps_per_s, prediction.binding
    if not _knows_learner(spec, prediction):
        return (
            f"Bound by {binding} at {rate:,.0f} decisions/s, unless the learner is slower: how fast "
            f"{spec.runtime.learner_device} learns is not known here. Measure on a machine that has one."
        )
    text = f"Bound by {binding}: {rate:,.0f} decisions/s and {prediction.updates_per_s:,.1f} updates/s"
    if binding == "the learner":
        is_queue, ratio = isinstance(spec.store, QueueSpec), spec.store.samples_per_insert
        held = "the full queue holds" if is_queue else f"{ratio:g} samples per insert hold"
        return f"{text}; {held} the rollout workers back."
    return f"{text}; measured on {os.cpu_count()} cores of this machine."


def _knows_learner(spec: RunSpec, prediction: Prediction) -> bool:
    return prediction.learner_device == spec.runtime.learner_device


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.3g} ms"


def _bytes(size: float) -> str:
    power = min(len(_UNITS) - 1, int(math.log(max(1.0, size), 1000)))
    return f"{size / 1000**power:,.3g} {_UNITS[power]}"
