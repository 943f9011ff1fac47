"""The workers of a run: what kinds there are, and a worker's row in the `workers.json` of the run's folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class WorkerKind(StrEnum):
    """A kind of processes, by its name in metrics and files; in the order in which kinds are shown.

    Attributes:
      noun: what one is called where people read.
      role: of the machines to which they go, if machines have roles (`rlsys.io/role`); the driver is where it is.
      restarted_by: who starts one again that has failed: the supervisor a new one, under a budget, or Ray the same
        one, under the same handle, so that nobody has to look for it.
      is_numbered: whether the first is called by its number, too, for there are usually several.
    """

    noun: str
    role: str
    restarted_by: Literal["supervisor", "Ray", "nobody"]
    is_numbered: bool

    def __new__(
        cls,
        name: str,
        noun: str,
        role: str,
        restarted_by: Literal["supervisor", "Ray", "nobody"],
        is_numbered: bool = False,
    ) -> "WorkerKind":
        """Makes a kind of its record."""
        kind = str.__new__(cls, name)
        kind._value_ = name
        kind.noun, kind.role, kind.restarted_by, kind.is_numbered = noun, role, restarted_by, is_numbered
        return kind

    DRIVER = "driver", "driver", "", "nobody"
    LEARNER = "learner", "learner", "learner", "supervisor"
    EVALUATOR = "evaluator", "evaluator", "rollout", "supervisor"
    SERVER = "server", "parameter server", "learner", "Ray"
    SHARD = "shard", "replay shard", "learner", "Ray", True
    INFERENCE = "inference", "inference worker", "learner", "Ray", True
    REANALYSE = "reanalyse", "reanalyse worker", "rollout", "Ray", True
    ROLLOUT = "rollout", "rollout worker", "rollout", "supervisor", True


@dataclass(frozen=True, order=True)
class Worker:
    """One worker: its kind and its number among them."""

    kind: WorkerKind
    index: int

    @classmethod
    def rollout(cls, index: int) -> "Worker":
        """Returns a rollout worker."""
        return cls(WorkerKind.ROLLOUT, index)

    @property
    def title(self) -> str:
        """What it is called where people read: "rollout worker 3", "parameter server"."""
        return f"{self.kind.noun} {self.index}" if self.index or self.kind.is_numbered else self.kind.noun


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
