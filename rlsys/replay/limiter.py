"""Holds the number of samples per insert, from both sides, so that a score does not depend on a machine's speed.

Cassirer et al. 2021, "Reverb: a framework for experience replay", https://arxiv.org/abs/2102.04736.
"""

import math
from dataclasses import replace

from rlsys.api import Saved, TableSpec
from rlsys.errors import ConfigError
from rlsys.files.json_tree import check_tree


class RateLimiter:
    """Two counts, and whether they may grow. Whoever inserts or samples asks first and counts after.

    With I items inserted, S sampled, ratio r = samples_per_insert, minimum m = min_size_to_sample and buffer
    e = error_buffer, the surplus `r (I - m) - S` may not be raised above e by an insert, nor lowered below -e by a
    sample. There is no sample before I ≥ m, and inserts are free until then.

    Attributes:
      inserted: I, items inserted so far.
      sampled: S, items sampled so far.
    """

    def __init__(self, spec: TableSpec, counted: str = "samples") -> None:
        """Starts counting at 0.

        Args:
          spec: gives the ratio, the minimum and the buffer.
          counted: what is held in a ratio to inserts, where people read.

        Raises:
          ConfigError: samples_per_insert is not a positive number, or a size is negative.
        """
        if spec.samples_per_insert is not None and not 0.0 < spec.samples_per_insert < math.inf:
            raise ConfigError(
                f"samples_per_insert = {spec.samples_per_insert}; it must be positive and finite. "
                "Leave it out to hold no ratio."
            )
        for name in ("error_buffer", "min_size_to_sample"):
            if not getattr(spec, name) >= 0:
                raise ConfigError(f"{name} = {getattr(spec, name)}; it must not be negative. Set it to 0 or more.")
        self._spec = spec
        self._counted = counted
        self.inserted: int = 0
        self.sampled: float = 0

    @property
    def minimum(self) -> int:
        """Items that must be inserted before the first sample."""
        return self._spec.min_size_to_sample

    @classmethod
    def for_shard(cls, spec: TableSpec, num_shards: int) -> "RateLimiter":
        """Returns a limiter for the inserts of one shard, with 1/num_shards of all sizes.

        Its `inserted` counts the shard's own items, its `sampled` must be 1/num_shards of the samples of *all* shards:
        shards are drawn from in proportion to their priorities, so their own counts drift apart, and one with low
        priorities would stay closed. Together such shards hold the ratio of the whole table.
        """
        return cls(
            replace(
                spec,
                max_size=-(-spec.max_size // num_shards),
                min_size_to_sample=-(-spec.min_size_to_sample // num_shards),
                error_buffer=spec.error_buffer / num_shards,
            )
        )

    def can_insert(self, num_items: int = 1) -> bool:
        """Tells whether `num_items` may be inserted now."""
        ratio, minimum = self._spec.samples_per_insert, self._spec.min_size_to_sample
        if ratio is None or self.inserted < minimum:
            return True
        return ratio * (self.inserted + num_items - minimum) - self.sampled <= self._spec.error_buffer

    def can_sample(self, num_items: int) -> bool:
        """Tells whether `num_items` may be sampled now."""
        return self.needed_inserts(num_items) == 0

    def needed_inserts(self, num_items: int) -> int:
        """Returns how many more items must be inserted before `num_items` may be sampled."""
        needed = float(self._spec.min_size_to_sample)
        if self._spec.samples_per_insert is not None:
            ahead = self.sampled + num_items - self._spec.error_buffer
            needed += max(ahead / self._spec.samples_per_insert, 0.0)
        return max(math.ceil(needed - self.inserted), 0)

    def wait_reason(self) -> str:
        """Says what samples wait for, as in "1,240 of 50,000 items (min_size_to_sample)"."""
        if self.inserted < self._spec.min_size_to_sample:
            return f"{self.inserted:,} of {self._spec.min_size_to_sample:,} items (min_size_to_sample)"
        if self._spec.samples_per_insert is None:
            return "an item that can be drawn"
        return f"{self._ratio_reason()} (+ {self._spec.error_buffer:,.0f})"

    def insert_wait_reason(self) -> str:
        """Says what inserts wait for, as in "samples per insert 7.91 is at its limit 8 (- 512)"."""
        return f"{self._ratio_reason()} (- {self._spec.error_buffer:,.0f})"

    def _ratio_reason(self) -> str:
        ratio = self.sampled / max(self.inserted - self._spec.min_size_to_sample, 1)
        return f"{self._counted} per insert {ratio:.2f} is at its limit {self._spec.samples_per_insert:g}"

    def check(self, batch_size: int, largest_insert: int) -> None:
        """Refuses settings under which neither an insert nor a sample might be allowed, for ever.

        Both are refused where `e - r n < surplus < B - e` for an insert of n and a batch of B, so the buffer must be at
        least `(B + r n) / 2`.

        Args:
          batch_size: items of the largest sample B, over all learner ranks that sample at once.
          largest_insert: items of the largest insert n, over all shards that insert at once.

        Raises:
          ConfigError: the first setting that must change, and to what.
        """
        spec = self._spec
        if spec.min_size_to_sample > spec.max_size:
            raise ConfigError(
                f"min_size_to_sample = {spec.min_size_to_sample:,} is larger than max_size = {spec.max_size:,}. "
                "Lower min_size_to_sample or raise max_size."
            )
        if spec.samples_per_insert is None:
            return
        needed = (batch_size + spec.samples_per_insert * largest_insert) / 2
        if spec.error_buffer < needed:
            raise ConfigError(
                f"error_buffer = {spec.error_buffer:,.0f} with samples_per_insert = {spec.samples_per_insert:g} can "
                f"block inserts and samples for ever; it must be at least {math.ceil(needed):,} for batches of "
                f"{batch_size:,} and inserts of {largest_insert:,} items. Raise error_buffer."
            )

    def save(self) -> Saved:
        """Returns the counts."""
        return {"inserted": self.inserted, "sampled": self.sampled}

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""
        self.inserted = check_tree(saved["inserted"], int)
        check_tree(saved["sampled"], float)
        self.sampled = saved["sampled"]
