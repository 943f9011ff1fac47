"""What the parts of a run cost: CPU seconds, bytes and memory, as `calibration` measures them."""

import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Footprint:
    """Memory of a process: its own bytes, and those of files that it shares with others of its kind, such as torch."""

    own_bytes: int
    shared_bytes: int

    @classmethod
    def of_this_process(cls) -> "Footprint":
        """Asks Linux; elsewhere all that is resident counts as the process's own."""
        try:
            lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
        except OSError:
            return cls(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, 0)
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return cls(kib["Anonymous"] * 1024, (kib["Rss"] - kib["Anonymous"]) * 1024)


@dataclass(frozen=True)
class Acting:
    """What a rollout worker costs.

    Attributes:
      env_s, act_s, write_s: CPU seconds of one step of all its environments: simulators, policy, cutting segments.
      sleep_s: seconds of such a step in which the simulators wait for something else than a core.
      set_weights_s: CPU seconds to take over newer weights.
      items_per_env_step: replay items that a decision becomes.
      items_per_insert: items that leave in one call.
      insert_bytes: size of such a call.
      footprint: of the process.
    """

    env_s: float
    act_s: float
    write_s: float
    sleep_s: float
    set_weights_s: float
    items_per_env_step: float
    items_per_insert: float
    insert_bytes: float
    footprint: Footprint

    @property
    def cpu_s(self) -> float:
        """CPU seconds of one step of all environments."""
        return self.env_s + self.act_s + self.write_s


@dataclass(frozen=True)
class Storing:
    """What a table or queue costs.

    Attributes:
      insert_s: CPU seconds to store one item.
      sample_s: CPU seconds to draw one batch and to set its priorities.
      item_bytes: bytes that an item takes, the rows that only complete others included.
      batch_items, batch_bytes: items and size of one batch, of one learner rank.
      footprint: of the process, while the table is nearly empty.
    """

    insert_s: float
    sample_s: float
    item_bytes: float
    batch_items: int
    batch_bytes: float
    footprint: Footprint


@dataclass(frozen=True)
class Learning:
    """What a learner rank costs.

    Attributes:
      step_s, step_cpu_s: seconds of one update with its batch at hand, and CPU seconds of all its threads.
      device: where it was measured.
      pack_s: CPU seconds to copy the weights for a publication.
      weights_bytes: size of a publication.
      footprint: of the process.
    """

    step_s: float
    step_cpu_s: float
    device: str
    pack_s: float
    weights_bytes: float
    footprint: Footprint


@dataclass(frozen=True)
class Costs:
    """What the parts of a run cost, each as measured here."""

    acting: Acting
    storing: Storing
    learning: Learning
