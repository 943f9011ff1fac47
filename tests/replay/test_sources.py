import json

import numpy as np

from rlsys.replay.sources import SeenSources
from rlsys.types import Source


def test_every_source_is_new_exactly_once_in_any_order_within_the_window():
    rng = np.random.default_rng(0)
    seen, delivered = SeenSources(), set()
    for start in range(0, 2000, 20):
        for sequence in rng.permutation(np.repeat(np.arange(start, start + 20), 3)).tolist():
            worker = sequence % 3
            assert seen.add(Source(worker, 0, sequence)) == ((worker, sequence) not in delivered)
            delivered.add((worker, sequence))


def test_a_restarted_worker_begins_anew():
    seen = SeenSources()
    assert seen.add(Source(0, 0, 5))
    assert seen.add(Source(0, 1, 5))
    assert seen.add(Source(0, 1, 0))
    assert not seen.add(Source(0, 0, 5))


def test_what_is_older_than_the_window_counts_as_seen():
    seen = SeenSources()
    assert seen.add(Source(0, 0, 1000))
    assert seen.add(Source(0, 0, 1000 - 63))
    assert not seen.add(Source(0, 0, 1000 - 64))


def test_memory_is_bounded_and_keeps_those_last_heard_of():
    seen = SeenSources()
    for incarnation in range(5000):
        seen.add(Source(0, 0, incarnation))
        seen.add(Source(1, incarnation, 0))
    assert len(seen.save()) == 4096
    assert not seen.add(Source(0, 0, 4999))
    assert not seen.add(Source(1, 4999, 0))


def test_it_is_the_same_after_a_round_trip_through_json():
    rng = np.random.default_rng(1)
    seen = SeenSources()
    for sequence in rng.integers(0, 100, 300).tolist():
        seen.add(Source(sequence % 4, 0, sequence))
    again = SeenSources()
    again.load(json.loads(json.dumps(seen.save())))
    for sequence in range(120):
        source = Source(sequence % 4, 0, sequence)
        assert again.add(source) == seen.add(source)
