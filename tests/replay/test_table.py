import json

import numpy as np
import pytest
from support.tables import EXTRAS, PIXELS, RAM, SEGMENTS, random_segment

from rlsys.api import ReplayNotReady, Segments, TableSpec
from rlsys.errors import CheckpointError, ConfigError, ReplayError
from rlsys.replay.table import Table
from rlsys.types import ArraySpec, Source


class _Naive:
    """A table as a list of segments, after the words of the specs; it only borrows the ring's capacity."""

    def __init__(self, spec, env, capacity):
        self.spec, self.env, self.capacity = spec, env, capacity
        self.stored = []  # (key of the first row, segment, priority per row, whether it is an item)
        self.next_key = 0

    def insert(self, segment):
        while self.stored and self.num_items + segment.num_items > self.spec.max_size:
            self.stored.pop(0)
        num_slots = segment.num_rows + 1
        while self.next_key % self.capacity + num_slots > self.capacity:
            self.next_key += 1
        while self.stored and self.stored[0][0] + self.capacity < self.next_key + num_slots:
            self.stored.pop(0)
        items = slice(segment.first_item, segment.first_item + segment.num_items)
        priority, is_item = np.zeros(num_slots), np.zeros(num_slots, bool)
        given = segment.priority if self.spec.sampler == "prioritized" and segment.priority is not None else 1.0
        priority[items] = given
        is_item[items] = True
        self.stored.append((self.next_key, segment, priority, is_item))
        self.next_key += num_slots

    @property
    def num_items(self):
        return sum(np.count_nonzero(is_item) for *_, is_item in self.stored)

    def items(self):
        """(slot, key, priority, entry, row) of every item, by slot."""
        found = []
        for entry in self.stored:
            first_key, segment, priority, is_item = entry
            for row in range(segment.num_rows):
                if is_item[row]:
                    key = first_key + row
                    found.append((key % self.capacity, key, priority[row], entry, row))
        return sorted(found, key=lambda item: item[0])

    def draw(self, position):
        below = 0.0
        for _, key, priority, entry, row in self.items():
            below += priority
            if position < below:
                return key, priority, entry, row
        raise AssertionError("position beyond the total")

    def update(self, keys, priorities):
        skipped = 0
        for key, priority in zip(keys.tolist(), priorities.tolist(), strict=True):
            for first_key, segment, row_priority, is_item in self.stored:
                row = key - first_key
                if 0 <= row < segment.num_rows and is_item[row]:
                    row_priority[row] = priority
                    break
            else:
                skipped += 1
        return skipped

    def window(self, entry, row, name, length):
        segment = entry[1]
        if name in EXTRAS:
            rows = segment.extras[name]
        elif name == "observation":
            rows = segment.observation
            if self.env.num_stack > 1:
                stacks = [[rows[max(t - k, 0)] for k in reversed(range(self.env.num_stack))] for t in range(len(rows))]
                rows = np.array(stacks)
        else:
            rows = getattr(segment, name)
        result = np.zeros((length, *rows.shape[1:]), rows.dtype)
        part = rows[row : row + length]
        result[: len(part)] = part
        return result


def _column(batch, name):
    return batch.extras[name] if name in batch.extras else getattr(batch, name)


def _check_batch(batch, naive, drawn, *, num_items, total, length, lengths):
    np.testing.assert_array_equal(batch.key, [key for key, *_ in drawn])
    np.testing.assert_allclose(batch.probability, [priority / total for _, priority, *_ in drawn], rtol=1e-14)
    assert batch.num_items == num_items
    np.testing.assert_array_equal(batch.num_rows, [min(e[1].num_rows - row, length) for *_, e, row in drawn])
    np.testing.assert_array_equal(batch.weights_version, [e[1].weights_version for _, _, e, _ in drawn])
    in_order = sorted(key for _, key, *_ in naive.items())
    np.testing.assert_array_equal(batch.age, [len(in_order) - 1 - in_order.index(key) for key, *_ in drawn])
    for name in ("observation", "action", "reward", "terminated", "truncated", *EXTRAS):
        count = lengths.get(name, length)
        expected = [naive.window(entry, row, name, count) for _, _, entry, row in drawn]
        np.testing.assert_array_equal(_column(batch, name), expected)
        assert _column(batch, name).dtype == expected[0].dtype


@pytest.mark.parametrize(
    ("env", "spec"),
    [
        (RAM, TableSpec(max_size=90, sampler="prioritized")),
        (RAM, TableSpec(max_size=40, sampler="uniform")),
        (PIXELS, TableSpec(max_size=50, sampler="prioritized")),
    ],
    ids=["ram", "uniform", "stacked and compressed"],
)
def test_random_operations_do_what_the_naive_table_does(env, spec):
    rng = np.random.default_rng(0)
    table = Table(spec, env, SEGMENTS)
    naive = _Naive(spec, env, table.capacity)
    past_keys = np.arange(5)
    for step in range(250):
        segment = random_segment(rng, env, step, with_priority=step % 7 != 0)
        assert table.insert(segment)
        naive.insert(segment)
        assert table.num_items == naive.num_items
        total = sum(priority for _, _, priority, _, _ in naive.items())
        assert table.mass == total
        if total == 0.0:
            continue
        targets = rng.integers(0, total, 5) + 0.5
        drawn = [naive.draw(target) for target in targets]
        num_items = naive.num_items
        length = int(rng.integers(1, 9))
        lengths = {"observation": 1, "policy": min(length, 3), "reward": 0}
        batch = table.sample(5, length, lengths, positions=targets / total)
        _check_batch(batch, naive, drawn, num_items=num_items, total=total, length=length, lengths=lengths)
        if spec.sampler == "prioritized":
            past_keys = np.concatenate([past_keys, batch.key])[-60:]
            keys = rng.choice(past_keys, 20)
            priorities = rng.integers(0, 5, 20).astype(float)
            assert table.update_priorities(keys, priorities) == naive.update(keys, priorities)
    stats = table.stats()
    assert stats["inserted_items"] == table.inserted_items > 4 * spec.max_size
    assert stats["skipped_priorities"] > 0 or spec.sampler != "prioritized"
    assert stats["evicted_by_size"] > 10


def test_two_tables_drawn_from_by_mass_are_one_table_exactly():
    rng = np.random.default_rng(2)
    spec = TableSpec(max_size=2000, sampler="prioritized")
    shards = [Table(spec, RAM, SEGMENTS, share=2) for _ in range(2)]
    whole = Table(spec, RAM, SEGMENTS)
    assert shards[0].window == 1000
    for k, shard in enumerate(shards):
        for step in range(60):
            segment = random_segment(rng, RAM, 100 * k + step)
            shard.insert(segment)
            whole.insert(segment)
    masses = np.array([shard.mass for shard in shards])
    assert masses.sum() == whole.mass
    positions = (np.arange(64) + rng.random(64)) / 64
    one = whole.sample(64, 5, positions=positions)
    of_first = positions * whole.mass < masses[0]
    for k, mine in enumerate([of_first, ~of_first]):
        local = (positions[mine] * whole.mass - masses[:k].sum()) / masses[k]
        part = shards[k].sample(int(mine.sum()), 5, positions=local)
        for name in ("observation", "action", "reward", "terminated", "truncated", "num_rows", "weights_version"):
            np.testing.assert_array_equal(getattr(part, name), getattr(one, name)[mine])
        np.testing.assert_array_equal(part.extras["policy"], one.extras["policy"][mine])
        np.testing.assert_allclose(part.probability * masses[k] / whole.mass, one.probability[mine], rtol=1e-12)
    assert sum(shard.num_items for shard in shards) == one.num_items


def test_own_draws_take_one_item_from_each_stratum_and_follow_the_priorities():
    rng = np.random.default_rng(3)
    table = Table(TableSpec(max_size=100, sampler="prioritized"), RAM, SEGMENTS, seed=5)
    for step in range(6):
        table.insert(random_segment(rng, RAM, step, num_rows=16))
    batches = [table.sample(32, 1) for _ in range(400)]
    keys = np.concatenate([batch.key for batch in batches])
    probability = dict(zip(keys.tolist(), np.concatenate([b.probability for b in batches]).tolist(), strict=True))
    assert sum(probability.values()) == pytest.approx(1.0)
    for key, expected in probability.items():
        # Stratified draws vary less than binomial ones, whose deviation this is.
        deviation = (expected * (1 - expected) / len(keys)) ** 0.5
        assert abs(np.mean(keys == key) - expected) < 4 * deviation
    assert all((np.diff(batch.key) >= 0).all() for batch in batches)


def test_the_window_grows_as_a_ring_that_lengthens_each_time_it_wraps():
    spec = TableSpec(max_size=26, sampler="uniform", initial_size=5)
    table = Table(spec, RAM, Segments(length=30, extras=EXTRAS))
    rng = np.random.default_rng(4)
    position, previous, moving, size = 0, 0, 5, 0
    for step in range(300):
        segment = random_segment(rng, RAM, step, num_rows=1)
        table.insert(segment)
        size += position >= previous
        position = (position + 1) % moving
        if position == 0:
            previous, moving = moving, min(26, moving + 5)
        assert table.num_items == size
    assert table.window == 26 == size


def test_a_segment_sent_twice_is_stored_once():
    rng = np.random.default_rng(5)
    table = Table(TableSpec(max_size=100, sampler="uniform"), RAM, SEGMENTS)
    segment = random_segment(rng, RAM, 0)
    assert table.insert(segment)
    before = table.num_items, table.inserted_items, table.num_bytes
    assert not table.insert(segment)
    assert (table.num_items, table.inserted_items, table.num_bytes) == before
    assert table.stats()["duplicate_segments"] == 1


def test_a_refused_segment_can_be_sent_again_corrected():
    segment = random_segment(np.random.default_rng(5), RAM, 0)
    table = Table(TableSpec(max_size=100, sampler="prioritized"), RAM, SEGMENTS)
    good, segment.priority = segment.priority, segment.priority * np.nan
    with pytest.raises(ReplayError):
        table.insert(segment)
    segment.priority = good
    assert table.insert(segment)


def _with(**changes):
    def change(segment):
        for name, value in changes.items():
            setattr(segment, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with(observation=np.zeros((11, 8), np.uint8)), r"observation has shape \(11, 8\), expected \(11, 7\)"),
        (_with(observation=np.zeros((10, 7), np.uint8)), r"observation has shape \(10, 7\), expected \(11, 7\)"),
        (_with(action=np.zeros(10, np.int32)), "action has dtype int32, expected int64"),
        (_with(reward=np.zeros(10)), "reward has dtype float64, expected float32"),
        (_with(reward=np.zeros(0, np.float32)), "segment has 0 rows; 1 to 16 are allowed"),
        (_with(reward=np.zeros(18, np.float32)), "segment has 18 rows; 1 to 16 are allowed"),
        (lambda s: s.extras.pop("value"), "segment has no column 'value'"),
        (lambda s: s.extras.update(values=s.extras["value"]), "unknown column 'values'. Did you mean 'value'"),
        (_with(num_items=0), "items are rows 2 to 1"),
        (_with(first_item=8), "items are rows 8 to 10; they must lie in rows 0 to 9"),
        (_with(first_item=-1), "items are rows -1 to 1"),
        (_with(terminated=np.eye(10, dtype=bool)[4]), r"terminated\[4\] = True before the last row, 9"),
        (_with(priority=np.ones(4)), r"priority has shape \(4,\), expected \(3,\)"),
        (_with(priority=np.array([1.0, np.nan, 1.0])), r"priority\[1\] = nan from a segment of worker 1"),
        (_with(priority=np.array([1.0, 1.0, np.inf])), r"priority\[2\] = inf"),
        (_with(priority=np.array([-0.5, 1.0, 1.0])), r"priority\[0\] = -0.5 .* must be finite and not negative"),
    ],
)
def test_a_segment_that_does_not_fit_is_refused_by_name_and_changes_nothing(change, message):
    segment = random_segment(np.random.default_rng(6), RAM, 0, num_rows=10)
    segment.source, segment.first_item, segment.num_items, segment.priority = Source(1, 0, 0), 2, 3, np.ones(3)
    segment.terminated[:] = segment.truncated[:] = False
    change(segment)
    table = Table(TableSpec(max_size=100, sampler="prioritized"), RAM, SEGMENTS)
    with pytest.raises(ReplayError, match=message):
        table.insert(segment)
    assert table.num_items == table.inserted_items == table.num_bytes == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_bad_priority_update_is_refused_and_changes_nothing(bad):
    table = Table(TableSpec(max_size=100, sampler="prioritized"), RAM, SEGMENTS)
    table.insert(random_segment(np.random.default_rng(7), RAM, 0, num_rows=16, with_priority=False))
    mass = table.mass
    with pytest.raises(ReplayError, match=rf"priority\[1\] = {bad} from the learner"):
        table.update_priorities(table.sample(3, 1).key, np.array([5.0, bad, 5.0]))
    assert table.mass == mass


def test_the_last_of_two_priorities_for_one_key_stays():
    table = Table(TableSpec(max_size=100, sampler="prioritized"), RAM, SEGMENTS)
    table.insert(random_segment(np.random.default_rng(8), RAM, 0, num_rows=16, with_priority=False))
    key = table.sample(1, 1).key[0]
    rest = table.mass - 1.0
    assert table.update_priorities(np.array([key, key]), np.array([9.0, 2.0])) == 0
    assert table.mass == rest + 2.0


@pytest.mark.parametrize(
    ("env", "spec"),
    [
        (RAM, TableSpec(max_size=60, sampler="prioritized", initial_size=20)),
        (PIXELS, TableSpec(max_size=60, sampler="uniform")),
    ],
    ids=["prioritized", "stacked and uniform"],
)
@pytest.mark.parametrize("num_segments", [0, 1, 90])
def test_a_loaded_table_goes_on_exactly_as_the_saved_one(env, spec, num_segments):
    rng = np.random.default_rng(15)
    table = Table(spec, env, SEGMENTS, seed=1)
    for step in range(num_segments):
        table.insert(random_segment(rng, env, step))
        if step > 2:
            table.sample(2, 3)
    saved = table.save()
    again = Table(spec, env, SEGMENTS, seed=2)
    again.load(_through_files(saved))
    for step in range(num_segments - 1, num_segments + 40):
        segment = random_segment(rng, env, step)
        segment.source = Source(2, 0, step)
        assert table.insert(segment) == again.insert(segment)
        assert table.stats() == again.stats()
        if table.num_items > 8 and table.mass > 0.0:
            one, two = table.sample(4, 3), again.sample(4, 3)
            for name in ("key", "observation", "policy", "num_rows", "probability", "weights_version", "age"):
                np.testing.assert_array_equal(_column(one, name), _column(two, name))
            if spec.sampler == "prioritized":
                priorities = rng.random(4)
                assert table.update_priorities(one.key, priorities) == again.update_priorities(two.key, priorities)


def _through_files(saved):
    """Copies what was saved: arrays as bytes, the rest as JSON, as a checkpoint does."""
    if isinstance(saved, np.ndarray):
        return np.frombuffer(saved.tobytes(), saved.dtype).reshape(saved.shape)
    if isinstance(saved, dict):
        return {name: _through_files(value) for name, value in saved.items()}
    if isinstance(saved, list):
        return [_through_files(value) for value in saved]
    return json.loads(json.dumps(saved))


def test_a_table_of_another_size_or_environment_is_refused_by_load():
    saved = Table(TableSpec(max_size=50, sampler="uniform"), RAM, SEGMENTS).save()
    with pytest.raises(CheckpointError, match="slots"):
        Table(TableSpec(max_size=60, sampler="uniform"), RAM, SEGMENTS).load(saved)
    with pytest.raises(CheckpointError, match="policy"):
        Table(TableSpec(max_size=50, sampler="uniform"), RAM, Segments(length=12, overlap=4)).load(saved)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ConfigError, match="replay_bytes = 900 leaves a shard 450 bytes; two segments can take"):
        Table(TableSpec(max_size=50, sampler="uniform", max_bytes=900), RAM, SEGMENTS, share=2)
    with pytest.raises(ConfigError, match="extra 'reward'"):
        extras = {"reward": ArraySpec((), "float32")}
        Table(TableSpec(max_size=50, sampler="uniform"), RAM, Segments(length=5, extras=extras))


def test_samples_that_cannot_be_given_are_refused_and_count_nothing():
    table = Table(TableSpec(max_size=50, sampler="prioritized"), RAM, SEGMENTS)
    with pytest.raises(ReplayNotReady, match="0 items"):
        table.sample(4, 1)
    segment = random_segment(np.random.default_rng(16), RAM, 0)
    segment.priority[:] = 0.0
    table.insert(segment)
    with pytest.raises(ReplayNotReady, match=f"{segment.num_items} items, none with a priority above 0"):
        table.sample(4, 1)
    with pytest.raises(ReplayError, match=r"rows\['polic'\] names no column.* Did you mean 'policy'\?"):
        table.sample(4, 5, {"polic": 1})
    with pytest.raises(ReplayError, match="= 6; 0 to length = 5"):
        table.sample(4, 5, {"policy": 6})
    assert table.sampled_items == 0


def test_priorities_for_a_table_that_does_not_use_them_are_refused():
    table = Table(TableSpec(max_size=50, sampler="uniform"), RAM, SEGMENTS)
    with pytest.raises(ReplayError, match="sampler = uniform"):
        table.update_priorities(np.array([0]), np.array([1.0]))


def test_the_table_keeps_no_view_of_a_segment():
    rng = np.random.default_rng(17)
    table = Table(TableSpec(max_size=50, sampler="prioritized"), RAM, SEGMENTS)
    segment = random_segment(rng, RAM, 0, num_rows=16, with_priority=False)
    table.insert(segment)
    positions = np.linspace(0, 0.99, 8)
    before = table.sample(8, 4, positions=positions)
    for array in (segment.observation, segment.action, segment.reward, *segment.extras.values()):
        array[:] = 0
    after = table.sample(8, 4, positions=positions)
    np.testing.assert_array_equal(before.observation, after.observation)
    np.testing.assert_array_equal(before.extras["policy"], after.extras["policy"])
    before.observation[:] = 0
    assert after.observation.any()


def test_read_only_arrays_from_shared_memory_are_taken():
    rng = np.random.default_rng(18)
    table = Table(TableSpec(max_size=50, sampler="prioritized"), PIXELS, SEGMENTS)
    segment = random_segment(rng, PIXELS, 0, num_rows=16, with_priority=False)
    positions = np.linspace(0, 0.99, 8)
    for array in (segment.observation, segment.action, *segment.extras.values(), positions):
        array.setflags(write=False)
    assert table.insert(segment)
    key, priorities = table.sample(8, 4, positions=positions).key, np.full(8, 2.0)
    key.setflags(write=False)
    priorities.setflags(write=False)
    assert table.update_priorities(key, priorities) == 0
