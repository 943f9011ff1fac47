"""One process of a run, as of its last report: what `workers.json` in the run's folder lists."""

from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = ("driver", "learner", "evaluator", "server", "shard", "inference", "rollout")
"""Kinds of processes in the order in which they are shown."""


@dataclass(frozen=True)
class WorkerRow:
    """One process of a run, as of its last report.

    Attributes:
      kind, index: which worker it is.
      node, pid: where it runs.
      cores_used: CPU seconds per second since the report before.
      rss_bytes, pss_bytes: as in `ProcessStats`.
      does: what it waits for, or works at.
      rates: what it did per second since the report before: "env steps" -> 310.
      version, lag: of the weights that it acts with; by how many versions they were old. None where nobody acts.
      restarts: how often another process took its place, this session.
      shares: part of its time -> share of 1, since the report before.
      seen: Unix time of the report.
    """

    kind: str
    index: int
    node: str
    pid: int
    cores_used: float
    rss_bytes: int
    pss_bytes: int
    does: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    version: int | None = None
    lag: int | None = None
    restarts: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    seen: float = 0.0

    @property
    def memory_bytes(self) -> int:
        """Its proportional set size where the system tells, else its resident memory."""
        return self.pss_bytes or self.rss_bytes
