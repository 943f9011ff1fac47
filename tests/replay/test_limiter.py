import json

import numpy as np
import pytest

from rlsys.api import TableSpec
from rlsys.errors import ConfigError
from rlsys.replay.limiter import RateLimiter


def _spec(**settings):
    return TableSpec(**{"max_size": 10**6, "sampler": "prioritized", **settings})


def _smallest_buffer(spec, batch_size, largest_insert):
    """The smallest buffer that `check` takes, found by asking it."""
    for buffer in np.arange(0.0, 10_000.0, 0.5):
        try:
            RateLimiter(TableSpec(**{**vars(spec), "error_buffer": buffer})).check(batch_size, largest_insert)
        except ConfigError:
            continue
        return TableSpec(**{**vars(spec), "error_buffer": buffer})
    raise AssertionError("no buffer is large enough")


@pytest.mark.parametrize("seed", range(30))
def test_random_inserts_and_samples_hold_the_ratio_and_never_stop_each_other(seed):
    rng = np.random.default_rng(seed)
    batch_size, largest = (int(n) for n in rng.integers(1, 40, 2))
    ratio, minimum = float(rng.choice([0.1, 0.5, 1.0, 3.7, 8.0])), int(rng.integers(0, 100))
    spec = _smallest_buffer(_spec(samples_per_insert=ratio, min_size_to_sample=minimum), batch_size, largest)
    limiter = RateLimiter(spec)
    highest = max(spec.error_buffer, ratio * (largest - 1))  # the insert that reaches the minimum is free
    eager = rng.random()
    for _ in range(400):
        can_insert, can_sample = limiter.can_insert(largest), limiter.can_sample(batch_size)
        assert can_insert or can_sample
        assert can_insert or limiter.inserted >= minimum
        assert not can_sample or limiter.inserted >= minimum
        if can_insert and (not can_sample or rng.random() < eager):
            limiter.inserted += int(rng.integers(1, largest + 1))
        else:
            limiter.sampled += int(rng.integers(1, batch_size + 1))
        if limiter.inserted >= minimum:
            surplus = ratio * (limiter.inserted - minimum) - limiter.sampled
            assert -spec.error_buffer - 1e-9 <= surplus <= highest + 1e-9
    assert limiter.inserted > minimum
    assert limiter.sampled > 0


def test_a_smaller_buffer_than_check_takes_can_stop_both_sides():
    spec = _smallest_buffer(_spec(samples_per_insert=1.0, min_size_to_sample=0), 10, 10)
    assert spec.error_buffer == 10.0
    stuck = RateLimiter(_spec(samples_per_insert=1.0, min_size_to_sample=0, error_buffer=9.5))
    assert not stuck.can_insert(10)
    assert not stuck.can_sample(10)


@pytest.mark.parametrize("seed", range(15))
def test_limiters_of_shards_and_one_of_samples_hold_the_ratio_together(seed):
    rng = np.random.default_rng(200 + seed)
    num_shards, batch_size, largest = (int(n) for n in rng.integers(1, 20, 3))
    ratio, minimum = float(rng.choice([0.5, 1.0, 4.0])), int(rng.integers(0, 60))
    spec = _smallest_buffer(
        _spec(samples_per_insert=ratio, min_size_to_sample=minimum), batch_size, largest * num_shards
    )
    whole = RateLimiter(spec)
    shards = [RateLimiter.for_shard(spec, num_shards) for _ in range(num_shards)]
    for _ in range(600):
        open_shards = [shard for shard in shards if shard.can_insert(largest)]
        assert open_shards or whole.can_sample(batch_size)
        if open_shards and (not whole.can_sample(batch_size) or rng.random() < 0.5):
            count = int(rng.integers(1, largest + 1))
            open_shards[rng.integers(len(open_shards))].inserted += count
            whole.inserted += count
        else:
            whole.sampled += batch_size
            for shard in shards:
                shard.sampled = whole.sampled / num_shards
    surplus = ratio * (whole.inserted - minimum) - whole.sampled
    overshoot = num_shards * ratio * (largest + 1)  # each shard's minimum is rounded up and its last insert free
    assert -spec.error_buffer <= surplus <= spec.error_buffer + overshoot
    assert whole.sampled > 0


def test_needed_inserts_are_the_fewest_after_which_the_sample_is_allowed():
    rng = np.random.default_rng(0)
    for _ in range(200):
        ratio = None if rng.random() < 0.2 else float(rng.choice([0.25, 1.0, 3.0]))
        minimum, buffer = int(rng.integers(0, 30)), float(rng.integers(0, 30))
        limiter = RateLimiter(_spec(samples_per_insert=ratio, min_size_to_sample=minimum, error_buffer=buffer))
        limiter.inserted, limiter.sampled = (int(n) for n in rng.integers(0, 60, 2))
        needed = limiter.needed_inserts(16)
        start = limiter.inserted
        for extra in range(needed + 1):
            limiter.inserted = start + extra
            assert limiter.can_sample(16) == (extra == needed)


def test_without_a_ratio_only_the_minimum_counts():
    limiter = RateLimiter(_spec(min_size_to_sample=100))
    limiter.inserted = 99
    assert not limiter.can_sample(1)
    limiter.inserted = 100
    assert limiter.can_sample(10**9)
    assert limiter.can_insert(10**9)
    limiter.check(10**6, 10**6)


def test_waiting_says_what_for():
    limiter = RateLimiter(_spec(samples_per_insert=8.0, min_size_to_sample=50_000, error_buffer=512.0))
    limiter.inserted = 1_240
    assert limiter.wait_reason() == "1,240 of 50,000 items (min_size_to_sample)"
    limiter.inserted, limiter.sampled = 54_000, 32_512
    assert not limiter.can_sample(1)
    assert limiter.wait_reason() == "samples per insert 8.13 is at its limit 8 (+ 512)"
    limiter.sampled = 31_488
    assert not limiter.can_insert(1)
    assert limiter.insert_wait_reason() == "samples per insert 7.87 is at its limit 8 (- 512)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples_per_insert": 0.0}, "samples_per_insert = 0.0; it must be positive"),
        ({"samples_per_insert": float("nan")}, "samples_per_insert = nan; it must be positive"),
        ({"error_buffer": -1.0}, "error_buffer = -1.0; it must not be negative"),
        ({"min_size_to_sample": -1}, "min_size_to_sample = -1; it must not be negative"),
        ({"min_size_to_sample": 10, "max_size": 9}, "min_size_to_sample = 10 is larger than max_size = 9"),
        (
            {"samples_per_insert": 8.0, "error_buffer": 2.0},
            "error_buffer = 2 with samples_per_insert = 8 can block .* 2,128 for batches of 256 and inserts of 500",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RateLimiter(_spec(**settings)).check(256, 500)


def test_counts_survive_a_round_trip_through_json():
    spec = _spec(samples_per_insert=2.0, error_buffer=10.0)
    limiter = RateLimiter(spec)
    limiter.inserted, limiter.sampled = 17, 20.5
    again = RateLimiter(spec)
    again.load(json.loads(json.dumps(limiter.save())))
    assert (again.inserted, again.sampled) == (17, 20.5)
