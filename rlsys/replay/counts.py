"""What tables and queues count, since the beginning of the run: figures that only grow."""

TABLE_COUNTS = (
    "inserted_items",
    "inserted_segments",
    "duplicate_segments",
    "sampled_items",
    "updated_priorities",
    "skipped_priorities",
    "evicted_by_size",
    "evicted_by_slots",
    "evicted_by_bytes",
)
"""Evictions are of segments."""
QUEUE_COUNTS = ("inserted_items", "duplicate_segments", "sampled_items")
