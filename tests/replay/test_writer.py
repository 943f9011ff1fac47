import json

import numpy as np
import pytest

from rlsys.api import Segments, TableSpec
from rlsys.errors import CheckpointError, ReplayError
from rlsys.replay.table import Table
from rlsys.replay.writer import SegmentWriter
from rlsys.types import ArraySpec, EnvSpec

_EXTRAS = {"count": ArraySpec((), "int64"), "pair": ArraySpec((2,), "float32")}


def _env(num_stack=1):
    return EnvSpec("counting", ArraySpec((2,), "int64"), ArraySpec((), "int64"), num_actions=3, num_stack=num_stack)


class _CountingStream:
    """E environments whose observation is (step since the start of time, step of the episode)."""

    def __init__(self, num_environments, num_stack, seed, mean_length):
        self.rng = np.random.default_rng(seed)
        self.num_stack = num_stack
        self.end = 1.0 / mean_length
        self.time = 0
        self.episode_step = np.zeros(num_environments, np.int64)

    def _stacked(self, step):
        frames = np.stack([np.arange(len(step)) * 100_000 + self.time, step], axis=1)
        if self.num_stack == 1:
            return frames
        older = [frames - 1000 * k for k in reversed(range(1, self.num_stack))]
        return np.stack([*older, frames], axis=1)

    def step(self):
        """Returns the arguments of `append_batch` for the next step; every number tells where it belongs."""
        observation = self._stacked(self.episode_step)
        count = observation[:, -1, 0] if self.num_stack > 1 else observation[:, 0]
        ended = self.rng.random(len(count)) < self.end
        truncated = ended & (self.rng.random(len(count)) < 0.5)
        self.time += 1
        next_observation = self._stacked(self.episode_step + 1)
        self.episode_step = np.where(ended, 0, self.episode_step + 1)
        return {
            "observation": observation,
            "action": count % 3,
            "reward": (count % 1000).astype(np.float32),
            "terminated": ended & (~truncated | (self.rng.random(len(count)) < 0.2)),
            "truncated": truncated,
            "extras": {"count": count, "pair": np.stack([count, -count], axis=1).astype(np.float32)},
            "priority": count.astype(float),
            "weights_version": self.time // 10,
            "next_observation": next_observation,
            "bootstrap_extras": {
                "count": count + 500,
                "pair": np.stack([count + 500, count], axis=1).astype(np.float32),
            },
        }


def _check_rows(segment, bootstrap_extras):
    """Rows follow each other in time and within one episode, and all columns agree."""
    count, episode_step = segment.observation.T
    num_rows = segment.num_rows
    np.testing.assert_array_equal(np.diff(count), 1)
    np.testing.assert_array_equal(np.diff(episode_step), 1)
    np.testing.assert_array_equal(segment.action, count[:-1] % 3)
    np.testing.assert_array_equal(segment.reward, count[:-1] % 1000)
    np.testing.assert_array_equal(segment.extras["count"][:-1], count[:-1])
    np.testing.assert_array_equal(segment.extras["pair"][:-1], np.stack([count, -count], axis=1)[:-1])
    items = slice(segment.first_item, segment.first_item + segment.num_items)
    np.testing.assert_array_equal(segment.priority, count[items])
    assert not segment.terminated[:-1].any()
    assert not segment.truncated[:-1].any()
    assert segment.weights_version == (count[num_rows - 1] % 100_000 + 1) // 10
    to_bootstrap = bootstrap_extras and segment.truncated[-1] and not segment.terminated[-1]
    expected = count[-2] + 500 if to_bootstrap else 0
    assert segment.extras["count"][-1] == expected
    assert segment.extras["pair"][-1, 0] == expected


@pytest.mark.parametrize("bootstrap_extras", [False, True])
@pytest.mark.parametrize("num_stack", [1, 4])
@pytest.mark.parametrize(("length", "overlap"), [(10, 0), (10, 3), (3, 8), (1, 0), (1, 2), (5, 5)])
@pytest.mark.parametrize("mean_length", [2, 9, 60])
def test_every_transition_is_an_item_once_with_its_context_before_and_its_targets_after(
    length, overlap, *, num_stack, bootstrap_extras, mean_length
):
    spec = Segments(length, overlap, bootstrap_extras, _EXTRAS)
    writer = SegmentWriter(spec, _env(num_stack), worker=4, incarnation=2, num_environments=3)
    stream = _CountingStream(3, num_stack, seed=0, mean_length=mean_length)
    context = num_stack - 1
    steps, segments = [], []
    for _ in range(200):
        steps.append(stream.step())
        segments.extend(writer.append_batch(**steps[-1]))
    assert [segment.source.sequence for segment in segments] == list(range(len(segments)))
    assert all((s.source.worker, s.source.incarnation) == (4, 2) for s in segments)
    items = []
    for segment in segments:
        _check_rows(segment, bootstrap_extras)
        ended = segment.terminated[-1] or segment.truncated[-1]
        first_step = segment.observation[0, 1]
        assert segment.first_item == min(context, first_step + segment.first_item)
        after = segment.num_rows - segment.first_item - segment.num_items
        assert after == (0 if ended else overlap)
        assert segment.num_items <= length + overlap if ended else segment.num_items <= length
        items.extend(segment.observation[segment.first_item : segment.first_item + segment.num_items, 0])
    assert len(items) == len(set(items))
    made = {int(count) for step in steps for count in step["extras"]["count"]}
    waiting = made - set(items)
    for e in range(3):
        mine = sorted(count for count in waiting if count // 100_000 == e)
        assert mine == list(range(e * 100_000 + 200 - len(mine), e * 100_000 + 200))
        assert len(mine) < length + overlap + 1


def test_segments_of_a_writer_fit_the_table_of_the_same_spec():
    spec = Segments(6, 4, True, _EXTRAS)
    writer = SegmentWriter(spec, _env(3), worker=0, incarnation=0, num_environments=2)
    stream = _CountingStream(2, 3, seed=1, mean_length=15)
    table = Table(TableSpec(max_size=200, sampler="prioritized"), _env(3), spec)
    for _ in range(300):
        for segment in writer.append_batch(**stream.step()):
            assert table.insert(segment)
    batch = table.sample(64, 5)
    frames = batch.observation[..., 0]
    valid = np.arange(5) <= batch.num_rows[:, None]
    np.testing.assert_array_equal(
        frames[:, :, -1][valid & (np.arange(5) < batch.num_rows[:, None])] % 3,
        batch.action[valid & (np.arange(5) < batch.num_rows[:, None])],
    )
    for row, stack in zip(batch.observation[valid], frames[valid], strict=True):
        reach = np.minimum([2, 1, 0], row[-1, 1])  # steps back, but not beyond the episode's first
        np.testing.assert_array_equal(stack, stack[-1] - reach)


def test_without_priorities_segments_have_none():
    spec = Segments(length=4, extras=_EXTRAS)
    writer = SegmentWriter(spec, _env(), worker=0, incarnation=0, num_environments=2)
    stream = _CountingStream(2, 1, seed=2, mean_length=1000)
    segments = [s for _ in range(8) for s in writer.append_batch(**{**stream.step(), "priority": None})]
    assert len(segments) == 4
    assert all(segment.priority is None for segment in segments)


def test_segments_own_their_arrays():
    spec = Segments(length=3, overlap=1, extras=_EXTRAS)
    writer = SegmentWriter(spec, _env(), worker=0, incarnation=0, num_environments=1)
    stream = _CountingStream(1, 1, seed=3, mean_length=1000)
    segments = []
    for _ in range(12):
        step = stream.step()
        segments.extend(writer.append_batch(**step))
        for name in ("observation", "action", "reward", "next_observation"):
            step[name][:] = -7
    for segment in segments:
        _check_rows(segment, bootstrap_extras=False)


def _same(one, two):
    assert (one.first_item, one.num_items, one.weights_version, one.source) == (
        two.first_item,
        two.num_items,
        two.weights_version,
        two.source,
    )
    for name in ("observation", "action", "reward", "terminated", "truncated", "priority"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    for name in _EXTRAS:
        np.testing.assert_array_equal(one.extras[name], two.extras[name])


@pytest.mark.parametrize("num_steps", [0, 1, 7, 33])
def test_a_loaded_writer_goes_on_exactly_as_the_saved_one(num_steps):
    spec = Segments(8, 3, True, _EXTRAS)
    stream = _CountingStream(3, 1, seed=4, mean_length=12)
    writer, again = (SegmentWriter(spec, _env(), worker=1, incarnation=0, num_environments=3) for _ in range(2))
    for _ in range(num_steps):
        writer.append_batch(**stream.step())
    saved = writer.save()
    assert all(isinstance(value, np.ndarray) for value in saved["columns"].values())
    assert json.loads(json.dumps(saved["sequence"])) == saved["sequence"]
    assert len(saved["priority"]) == saved["num_rows"].sum()
    for _ in range(5):
        writer.append_batch(**stream.step())
    fresh = SegmentWriter(spec, _env(), worker=1, incarnation=0, num_environments=3)
    fresh.load(saved)
    again.load(saved)
    for _ in range(40):
        step = stream.step()
        for one, two in zip(fresh.append_batch(**step), again.append_batch(**step), strict=True):
            _same(one, two)


def test_a_writer_that_was_saved_in_between_ships_what_one_that_was_not_does():
    spec = Segments(8, 3, True, _EXTRAS)
    whole, first = (SegmentWriter(spec, _env(), worker=1, incarnation=0, num_environments=3) for _ in range(2))
    stream = _CountingStream(3, 1, seed=5, mean_length=12)
    steps = [stream.step() for _ in range(90)]
    expected = [segment for step in steps for segment in whole.append_batch(**step)]
    got = [segment for step in steps[:41] for segment in first.append_batch(**step)]
    second = SegmentWriter(spec, _env(), worker=1, incarnation=0, num_environments=3)
    second.load(first.save())
    got += [segment for step in steps[41:] for segment in second.append_batch(**step)]
    for one, two in zip(got, expected, strict=True):
        _same(one, two)


def test_what_another_writer_saved_is_refused():
    spec = Segments(length=8, extras=_EXTRAS)
    saved = SegmentWriter(spec, _env(), worker=0, incarnation=0, num_environments=3).save()
    with pytest.raises(CheckpointError, match="3 environments"):
        SegmentWriter(spec, _env(), worker=0, incarnation=0, num_environments=2).load(saved)
    with pytest.raises(CheckpointError, match="pair"):
        SegmentWriter(Segments(length=8), _env(), worker=0, incarnation=0, num_environments=3).load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.zeros(2)}, "reward has dtype float64, expected float32"),
        ({"action": np.zeros(3, np.int64)}, r"action has shape \(3,\), expected \(2,\)"),
        ({"observation": np.zeros((2, 4, 2), np.int64)}, r"observation has shape \(2, 4, 2\), expected \(2, 2\)"),
        ({"extras": {}}, "a step has no column 'count'"),
        ({"next_observation": np.zeros((2, 3), np.int64)}, r"next_observation has shape \(2, 3\)"),
    ],
)
def test_steps_that_do_not_fit_are_refused_by_name(change, message):
    writer = SegmentWriter(Segments(length=1, extras=_EXTRAS), _env(), worker=0, incarnation=0, num_environments=2)
    step = _CountingStream(2, 1, seed=6, mean_length=5).step()
    with pytest.raises(ReplayError, match=message):
        writer.append_batch(**{**step, **change})
