"""Names what binds a run, and what to do about it, from where its workers' time goes."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from rlsys.api import QueueSpec, TableSpec
from rlsys.metrics.formatting import percent
from rlsys.metrics.timing import mean_row, shares_in
from rlsys.quoting import command
from rlsys.runs.spec import RunSpec

_RECENT_S = 30.0
_CLEAR_AFTER_S = 15.0
_MUCH = 0.2
"""Share of its time from which waiting is worth a remark."""
_FULL = 0.85
"""Share of a shard's time, of an inference worker's or of the machines' cores from which there is no more to get."""
_ACTING = {
    "env": ("environments bind", "in the simulator"),
    "act": ("decisions bind", "deciding"),
    "refresh": ("refreshing stored rows binds", "searching them anew"),
    "write": ("writing segments binds", "cutting and sending segments"),
}


@dataclass(frozen=True)
class Setup:
    """What advice must know of a run besides its metrics.

    Attributes:
      run: what commands call the run: its folder, since advice is read in other folders, too.
      learner_device: where learners compute, "cpu" or "cuda".
      is_queue: whether batches come from queues, which give out each unroll once, rather than from tables.
      holds_ratio: whether a table holds samples per insert.
      shared_environments: of a run that collects and learns in turns, those that its workers have equal shares of, in
        all; another number of workers means another session. 0 where workers may come and go.
    """

    run: str
    learner_device: str
    is_queue: bool
    holds_ratio: bool
    shared_environments: int = 0

    @classmethod
    def of(cls, spec: RunSpec) -> "Setup":
        """Takes what is needed from a run."""
        return cls(
            run=str(spec.folder),
            learner_device=spec.runtime.learner_device,
            is_queue=isinstance(spec.store, QueueSpec),
            holds_ratio=isinstance(spec.store, TableSpec) and spec.store.samples_per_insert is not None,
            shared_environments=spec.num_environments if spec.turns is not None else 0,
        )


class Advisor:
    """Averages the rows of the last half minute of training, and gives advice once they make it clear."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._rows: deque[tuple[float, Mapping[str, float]]] = deque()

    def take(self, seconds: float, row: Mapping[str, float]) -> None:
        """Takes in the metrics of so many seconds; those from before the first update tell nothing of training."""
        if self._rows or row["throughput/updates_per_s"] > 0:
            self._rows.append((seconds, row))
        while self._rows and self._seconds() - self._rows[0][0] >= _RECENT_S:
            self._rows.popleft()

    def shares(self) -> dict[str, float]:
        """Returns `workers/<kind>_<part>_share` -> where the time of each kind of worker goes."""
        return shares_in(mean_row(self._rows))

    def advice(self) -> str:
        """Returns what binds the run; empty in its first seconds."""
        return advise(mean_row(self._rows), self._setup) if self._seconds() >= _CLEAR_AFTER_S else ""

    def _seconds(self) -> float:
        return sum(seconds for seconds, _ in self._rows)


def advise(row: Mapping[str, float], setup: Setup) -> str:
    """Returns one line that names the bottleneck; empty while nothing can be said.

    Args:
      row: metrics, best averaged over half a minute: `workers/…_share`, `system/…` and `throughput/updates_per_s`.
      setup: the run's.
    """
    if not row.get("throughput/updates_per_s", 0.0) > 0 or "system/rollout_processes" not in row:
        return ""
    learner_waits, rollouts_wait = _share(row, "learner_wait_replay"), _share(row, "rollout_wait_replay")
    between = _weights_bind(row) or _shards_bind(row, max(learner_waits, rollouts_wait))
    if between := between or _reanalysing_binds(row, rollouts_wait):
        return between
    match learner_waits >= _MUCH, rollouts_wait >= _MUCH:
        case True, True:
            return _both_wait(learner_waits, rollouts_wait, setup)
        case True, False:
            return _learner_starves(row, learner_waits, setup)
        case False, True:
            return _learner_binds(learner_waits, rollouts_wait, setup)
    waits = f"the learner {percent(learner_waits)}, rollout workers {percent(rollouts_wait)} of their time"
    return f"nothing waits for long: {waits}"


def _weights_bind(row: Mapping[str, float]) -> str:
    held = _share(row, "learner_held")
    if held < _MUCH:
        return ""
    return (
        f"weights bind: the learner is held back {percent(held)} of its time until everybody acts with newer ones; "
        "lower runtime.weight_sync_frequency, or raise runtime.max_version_lag"
    )


def _shards_bind(row: Mapping[str, float], waiting: float) -> str:
    load = _shard_load(row)
    if waiting < _MUCH or load < _FULL:
        return ""
    return (
        f"replay binds: its shards are busy {percent(load)} of their time ({_largest(row, 'shard')}) and others wait "
        f"{percent(waiting)}; spread it with runtime.replay_shards={2 * _num_shards(row)}"
    )


def _reanalysing_binds(row: Mapping[str, float], rollouts_wait: float) -> str:
    """Replay lets nobody insert before as many rows have been refreshed as were decided for."""
    if rollouts_wait < _MUCH or "workers/reanalyse_wait_rows_share" not in row:
        return ""
    busy = 1.0 - _share(row, "reanalyse_wait_rows") - _share(row, "reanalyse_wait_weights")
    if busy < _FULL:
        return ""
    return (
        f"reanalysing binds: its workers are busy {percent(busy)} of their time, and rollout workers wait "
        f"{percent(rollouts_wait)}; raise runtime.reanalyse_workers"
    )


def _learner_starves(row: Mapping[str, float], learner_waits: float, setup: Setup) -> str:
    """Who acts cannot keep up, or what they made does not arrive."""
    learner = f"the learner waits {percent(learner_waits)}"
    if not setup.is_queue and not setup.holds_ratio:
        return f"batches on their way bind: {learner}, and nothing holds it back; raise runtime.batches_in_flight"
    cores, busy = row.get("system/cores", 0.0), row.get("system/busy_cores", 0.0)
    if cores and busy >= _FULL * cores:
        own = sum(value for name, value in row.items() if name.startswith("system/") and name.endswith("_cpu_cores"))
        return (
            f"the machines' cores bind: {busy:.1f} of {cores:.0f} are busy, {own:.1f} with this run, and {learner}; "
            f"add machines, or make cheaper what rollout workers do most ({_largest(row, 'rollout')})"
        )
    inference = 1.0 - _share(row, "inference_wait") if "workers/inference_wait_share" in row else 0.0
    if inference >= _FULL:
        busy_share = f"its workers are busy {percent(inference)} of their time"
        return f"inference binds: {busy_share} and {learner}; raise runtime.inference_workers"
    part = max(_ACTING, key=lambda part: _share(row, f"rollout_{part}"))
    verdict, where = _ACTING[part]
    rollouts = round(row["system/rollout_processes"])
    wanted = min(2 * rollouts, math.ceil(rollouts / (1.0 - min(learner_waits, 0.9))))
    finding = f"{verdict}: rollout workers spend {percent(_share(row, f'rollout_{part}'))} {where} and {learner}"
    return f"{finding}; {_more_rollouts(rollouts, max(wanted, rollouts + 1), setup)}"


def _more_rollouts(now: int, wanted: int, setup: Setup) -> str:
    """Says how the run gets more rollout workers, as near to what is wanted as it can have."""
    if not setup.shared_environments:
        return f"add rollout workers: {command('scale', setup.run, f'rollout_workers={wanted}')}"
    possible = [
        count for count in range(now + 1, setup.shared_environments + 1) if not setup.shared_environments % count
    ]
    if not possible:
        return "each environment has a worker of its own already: give it more environments in a new run"
    count = min(possible, key=lambda count: abs(count - wanted))
    more = command("launch", "--resume", setup.run, f"runtime.rollout_workers={count}")
    return f"end it and go on with more rollout workers: {more}"


def _learner_binds(learner_waits: float, rollouts_wait: float, setup: Setup) -> str:
    more = "a GPU, more cores (runtime.learner_threads) or more ranks (runtime.learners)"
    if setup.learner_device == "cuda":
        more = "more ranks (runtime.learners) or a smaller network"
    return (
        f"the learner binds: rollout workers wait {percent(rollouts_wait)} of their time until it has taken what there "
        f"is, and it waits {percent(learner_waits)}; give it {more}"
    )


def _both_wait(learner_waits: float, rollouts_wait: float, setup: Setup) -> str:
    waits = f"the learner waits {percent(learner_waits)} and rollout workers {percent(rollouts_wait)}"
    if setup.is_queue:
        return f"unrolls on their way bind: {waits}; make batches larger, or raise runtime.replay_shards"
    return f"samples per insert bind: {waits}, each for the other; let them err more, or insert smaller segments"


def _shard_load(row: Mapping[str, float]) -> float:
    """Returns the share of their time in which shards compute, by their own clock or by their cores, if that is more.

    What Ray does for a call, such as taking arrays apart, is in the second alone.
    """
    if "workers/shard_wait_share" not in row:
        return 0.0
    cores = row.get("system/shard_cpu_cores", 0.0) / _num_shards(row)
    return min(1.0, max(1.0 - _share(row, "shard_wait"), cores))


def _num_shards(row: Mapping[str, float]) -> int:
    return max(1, round(row.get("system/shard_processes", 1.0)))


def _largest(row: Mapping[str, float], kind: str) -> str:
    """Returns the part of a kind of worker that takes longest, waiting left out: "sample 50 %"."""
    prefix, suffix = f"workers/{kind}_", "_share"
    parts = {
        name.removeprefix(prefix).removesuffix(suffix): share
        for name, share in row.items()
        if name.startswith(prefix) and "wait" not in name
    }
    part = max(parts, key=parts.__getitem__)
    return f"{part} {percent(parts[part])}"


def _share(row: Mapping[str, float], name: str) -> float:
    return row.get(f"workers/{name}_share", 0.0)
