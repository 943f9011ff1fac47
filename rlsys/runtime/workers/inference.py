"""The inference worker: decides for the environments of many rollout workers at once, on a device of its own.

Requests that arrive while a batch is being computed make the next one (dynamic batching; Espeholt et al. 2018, section
3.1, https://arxiv.org/abs/1802.01561), so batches grow with the load and nobody waits for company.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from rlsys.api import Decision, PolicyContext
from rlsys.metrics.process_stats import ProcessMeter, ProcessStats
from rlsys.runs.spec import RunSpec
from rlsys.types import Array, State, Weights
from rlsys.weights import NOTHING, Echo, echo


@dataclass(frozen=True)
class Request:
    """What one rollout worker asks; arguments as in `Policy.act`."""

    observation: Array
    state: State
    explore: bool


@dataclass
class InferenceReport:
    """What an inference worker did since its last report.

    Attributes:
      worker: its index.
      decisions: rows decided.
      batches: forward passes.
      busy_s: seconds within them.
      elapsed_s: seconds since the last report.
      acts_with: the weights that decide now.
      process_stats: of its process.
    """

    worker: int
    decisions: int = 0
    batches: int = 0
    busy_s: float = 0.0
    elapsed_s: float = 0.0
    acts_with: Echo = NOTHING
    process_stats: ProcessStats | None = None

    @property
    def spent(self) -> dict[str, float]:
        """Seconds deciding (act), and the rest (wait)."""
        return {"act": self.busy_s, "wait": max(0.0, self.elapsed_s - self.busy_s)}


class InferenceWorker:
    """A policy that answers requests; without memory of its own between them but for its random stream."""

    def __init__(self, spec: RunSpec, index: int) -> None:
        seed = spec.seeds("inference", index)[0]
        assert spec.runtime.inference_device != "auto"
        context = PolicyContext(spec.section, spec.env_spec, seed, device=spec.runtime.inference_device)
        self._policy = spec.algorithm.make_policy(context)
        self._report = InferenceReport(index)
        self._reported = time.perf_counter()
        self._meter = ProcessMeter()
        self.version = -1

    def set_weights(self, weights: Weights) -> None:
        """Decides with these weights from the next batch on."""
        self._policy.set_weights(weights)
        self.version = weights.version

    def decide(self, requests: Sequence[Request]) -> list[Decision]:
        """Answers requests, which all explore or all do not, by one forward pass."""
        started = time.perf_counter()
        observation = _join([request.observation for request in requests])
        state = {name: _join([request.state[name] for request in requests]) for name in requests[0].state}
        decision = self._policy.act(observation, state, explore=requests[0].explore)
        decision = replace(decision, weights_version=self.version)
        self._report.decisions += len(observation)
        self._report.batches += 1
        self._report.busy_s += time.perf_counter() - started
        return _split(decision, [len(request.observation) for request in requests])

    def encode(self, observation: Array) -> Array:
        """See `Policy.encode`."""
        return self._policy.encode(observation)

    def report(self) -> InferenceReport:
        """Returns what happened since the last report and starts a new one."""
        report, self._report = self._report, InferenceReport(self._report.worker)
        report.acts_with = echo(self.version, self._policy.weights())
        report.process_stats = self._meter.take()
        now = time.perf_counter()
        report.elapsed_s, self._reported = now - self._reported, now
        return report


def next_batch(waiting: Iterable[Request], max_rows: int) -> int:
    """Returns how many of the waiting requests make the next batch: alike, first come first served, at least one."""
    requests = deque(waiting)
    num_rows = len(requests[0].observation)
    count = 1
    while count < len(requests):
        num_rows += len(requests[count].observation)
        if num_rows > max_rows or requests[count].explore != requests[0].explore:
            break
        count += 1
    return count


def _join(arrays: list[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _split(decision: Decision, sizes: list[int]) -> list[Decision]:
    """Cuts every array of a decision into consecutive parts."""
    ends = np.cumsum(sizes).tolist()
    return [_rows(decision, slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def _rows(decision: Decision, rows: slice) -> Decision:
    parts = {}
    for field in fields(decision):
        value = getattr(decision, field.name)
        if isinstance(value, dict):
            value = {name: array[rows] for name, array in value.items()}
        elif isinstance(value, np.ndarray):
            value = value[rows]
        parts[field.name] = value
    return Decision(**parts)
