"""Windows of episodes against the rows that went in, for environments that end, are cut short and are begun again."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from rlsys.api import NothingToDraw, QueueSpec, Segments, SequenceQuery, TableSpec, TurnTooSmall, Unrolls
from rlsys.config import EnvConfig
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ReplayError
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.table import Table
from rlsys.replay.unrolls import UnrollWriter
from rlsys.replay.writer import SegmentWriter
from rlsys.types import Segment, Sequences, Source, UnrollBlock

ENVIRONMENTS, ROWS_OF_TURN = 3, 28
SPEC = TableSpec(max_size=10_000, sampler="uniform", keeps_episodes=True)
HELD_OUT = 1 / 11


@dataclass
class Collected:
    """What was collected of the environment whose observation is (environment, episode, step)."""

    env: BatchedEnv
    cut: Segments
    segments: list[Segment]
    unrolls: list[UnrollBlock]
    episodes: dict[tuple[int, int], int]
    """(environment, episode) -> its rows."""

    def table(self, spec: TableSpec = SPEC, num_segments: int | None = None) -> Table:
        table = Table(spec, self.env.spec, self.cut, seed=5)
        for segment in self.segments[:num_segments]:
            table.insert(segment)
        return table


def collect(turns: int = 3, *, stack: int = 1, most_steps: int = 11, length: int = 5, overlap: int = 0) -> Collected:
    config = EnvConfig(id="rlsys/Counting-v0", stack_states=stack, max_episode_steps=most_steps)
    env = BatchedEnv(config, range(ENVIRONMENTS))
    cut = Segments(length=length, overlap=overlap)
    writer = SegmentWriter(cut, env.spec, 0, 0, ENVIRONMENTS)
    unrolls = UnrollWriter(Unrolls(length=ROWS_OF_TURN // 4), env.spec, 0, 0, ENVIRONMENTS)
    found = Collected(env, cut, [], [], {})
    rng = np.random.default_rng(0)
    for step in range(turns * ROWS_OF_TURN):
        observation = env.observation.copy()
        for frame in observation[:, -1] if stack > 1 else observation:
            key = int(frame[0]), int(frame[1])
            found.episodes[key] = found.episodes.get(key, 0) + 1
        result = env.step(rng.integers(env.spec.num_actions, size=ENVIRONMENTS))
        row: dict[str, Any] = {
            "observation": observation,
            "action": result.action,
            "reward": result.reward,
            "terminated": result.terminated,
            "truncated": result.truncated,
            "extras": {},
            "priority": None,
            "weights_version": 0,
            "next_observation": result.observation,
            "turn": step // ROWS_OF_TURN,
            "ships_all": (step + 1) % ROWS_OF_TURN == 0,
        }
        found.segments += writer.append_batch(**row)
        found.unrolls += unrolls.append_batch(**row, state={})
    return found


def everything(table: Table, query: SequenceQuery) -> Sequences:
    """Draws in the middle of as many strata as there are windows, or runs: each comes once."""
    num = round(table.mass_of(query))
    assert num, query
    return table.sequences(replace(query, batch_size=num), (np.arange(num) + 0.5) / num)


def check_windows(windows: Sequences) -> None:
    """Asserts that each window counts on within its episode, and is empty where it reaches beyond what there is."""
    for index, mask in enumerate(windows.mask):
        rows = np.flatnonzero(mask)
        assert len(rows) and (np.diff(rows) == 1).all()
        shown = windows.observation[index, rows[0] : rows[-1] + 2]
        assert (shown[:, :2] == shown[0, :2]).all(), shown
        assert (shown[:, 2] == shown[0, 2] + np.arange(len(rows) + 1)).all(), shown
        assert shown[0, 2] == windows.row[index] + rows[0]
        assert (windows.reward[index, rows] == shown[:-1, 2] + 1).all(), "each reward is what the action there caused"
        beyond = np.ones(len(mask) + 1, np.bool_)
        beyond[rows[0] : rows[-1] + 2] = False
        assert not windows.observation[index, beyond].any()
        assert not windows.reward[index, ~mask].any()
        assert not windows.action[index, ~mask].any()


def starts(windows: Sequences) -> Counter[tuple[int, int, int]]:
    """Returns how often there is each (environment, episode, row at which a window begins)."""
    first = windows.mask.argmax(axis=1)
    of = windows.observation[np.arange(len(first)), first, :2].astype(int).tolist()
    return Counter((environment, episode, row) for (environment, episode), row in zip(of, windows.row, strict=True))


@pytest.mark.parametrize("overlap", [0, 2])
@pytest.mark.parametrize("stack", [1, 4])
@pytest.mark.parametrize("length", [1, 4, 9])
@pytest.mark.parametrize("reach", ["inside", "before", "after", "both"])
def test_every_window_of_every_episode_is_drawn_once(length: int, stack: int, reach: Any, overlap: int) -> None:
    collected = collect(stack=stack, overlap=overlap)
    windows = everything(collected.table(), SequenceQuery(1, length, reach=reach))
    check_windows(windows)
    stored = collected.episodes
    if overlap:  # an episode that goes on holds rows back
        last = {environment: max(episode for e, episode in stored if e == environment) for environment, _ in stored}
        stored = {key: rows for key, rows in stored.items() if last[key[0]] != key[1]}
    before = length - 1 if reach in ("before", "both") else 0
    after = length - 1 if reach in ("after", "both") else 0
    expected = Counter(
        (*key, row) for key, rows in stored.items() for row in range(-before, rows - length + 1 + after) if rows
    )
    found = starts(windows)
    assert {key: count for key, count in found.items() if key[:2] in stored} == expected


def test_the_observation_after_the_last_row_is_seen() -> None:
    windows = everything(collect(most_steps=5).table(), SequenceQuery(1, 1))
    assert windows.observation[:, :, 2].max() == 5, "an episode of 5 steps has 6 observations"


@pytest.mark.parametrize("reach", ["before", "after"])
def test_fewer_observations_are_the_first(reach: Any) -> None:
    table = collect().table()
    whole = everything(table, SequenceQuery(1, 4, reach=reach))
    fewer = everything(table, SequenceQuery(1, 4, reach=reach, num_frames=2))
    np.testing.assert_array_equal(fewer.observation, whole.observation[:, :2])
    np.testing.assert_array_equal(fewer.reward, whole.reward)
    np.testing.assert_array_equal(fewer.mask, whole.mask)


def test_windows_at_the_beginning_of_runs() -> None:
    collected = collect()
    table = collected.table()
    windows = everything(table, SequenceQuery(1, 2, begins=True))
    check_windows(windows)
    assert starts(windows) == Counter((*key, 0) for key, rows in collected.episodes.items() if rows >= 2)
    of_turn = everything(table, SequenceQuery(1, 2, begins=True, turns=(1, 2)))
    assert (of_turn.row > 0).any(), "an episode that goes on from the turn before begins at the turn's beginning"


def test_each_episode_is_as_likely_as_any_other_and_then_each_of_its_rows() -> None:
    collected = collect()
    table = collected.table()
    query = SequenceQuery(20_000, 2, by="episode")
    assert table.mass_of(query) == sum(rows >= 2 for rows in collected.episodes.values())
    windows = table.sequences(query)
    found = starts(windows)
    by_episode = Counter(key[:2] for key in found.elements())
    expected = 20_000 / table.mass_of(query)
    assert all(abs(count - expected) <= 2 for count in by_episode.values())
    longest = max(collected.episodes, key=collected.episodes.__getitem__)
    rows = [count for key, count in found.items() if key[:2] == longest]
    assert max(rows) < 1.5 * min(rows)
    shortest = min(rows - 1 for rows in collected.episodes.values() if rows >= 2)
    np.testing.assert_allclose(windows.probability.max(), 1 / (shortest * table.mass_of(query)))


def test_turns_are_ranges_and_a_share_of_each_epoch_is_held_out() -> None:
    table = collect(6, stack=4).table()
    whole, query = SequenceQuery(1, 1), SequenceQuery(1, 1, epochs=(0, 2), held_out=HELD_OUT)
    of_turn = [starts(everything(table, replace(whole, turns=(turn, turn + 1)))) for turn in range(6)]
    assert [count.total() for count in of_turn] == [ENVIRONMENTS * ROWS_OF_TURN] * 6
    for turns in ((0, 2), (2, 6)):
        learned, held = (
            starts(everything(table, replace(query, part=part, turns=turns)))
            for part in ("learned", "held_out")  # type: ignore[arg-type]
        )
        both = sum(of_turn[turns[0] : turns[1]], Counter())
        assert not learned & held
        assert not (learned | held) - both
        cut_episodes = (both - learned - held).total()
        assert cut_episodes <= 1, "the observation after the last row that is learned is held out, and so is that row"
        assert held.total() == -(-both.total() // 11)
        assert {key[0] for key in held} == {ENVIRONMENTS - 1}, "the end of the last environment's rows"
    windows = everything(table, replace(query, length=4, part="learned", reach="both"))
    check_windows(windows)


@pytest.mark.parametrize("every", [2, 3])
def test_whole_episodes_are_held_out_of_every_environment(every: int) -> None:
    collected = collect(6)
    table = collected.table()
    query = SequenceQuery(1, 2, held_out_every=every)
    learned, held = (everything(table, replace(query, part=part)) for part in ("learned", "held_out"))  # type: ignore[arg-type]
    check_windows(held)
    assert not starts(learned) & starts(held)
    assert starts(learned) + starts(held) == starts(everything(table, SequenceQuery(1, 2)))
    second = 2  # the first one that environments show is 1
    assert {key[:2] for key in starts(held)} == {
        key for key, rows in collected.episodes.items() if rows >= 2 and (key[1] - second) % every == 0
    }
    assert query.num_samples == 2 and replace(query, part="held_out").num_samples == 0


def test_newer_episodes_can_be_likelier() -> None:
    collected = collect(4, most_steps=7)
    weights = (0.125, 0.125, 0.25, 0.5)
    by_age = list(dict.fromkeys((segment.environment, segment.episode + 1) for segment in collected.segments))
    parts = [[by_age[index] for index in part] for part in np.array_split(np.arange(len(by_age)), 4)]
    for by in ("episode", "row"):
        query = SequenceQuery(8_000, 1, by=by, age_weights=weights)  # type: ignore[arg-type]
        found = Counter(key[:2] for key in starts(collected.table().sequences(query)).elements())
        shares = [sum(found[key] for key in part) / 8_000 for part in parts]
        np.testing.assert_allclose(shares, weights, atol=1e-3)
    few = collect(1, most_steps=200)
    assert starts(few.table().sequences(replace(query, batch_size=4))).total() == 4, (
        "also with fewer episodes than parts"
    )


def test_rows_can_be_as_likely_as_their_priorities() -> None:
    collected = collect()
    table = collected.table(replace(SPEC, sampler="prioritized"))
    query = SequenceQuery(4_000, 6, by="priority", reach="after")
    windows = table.sequences(query)
    check_windows(windows)
    liked = windows.row == 2
    table.update_priorities(windows.key, np.where(liked, 3.0, 0.0))
    again = table.sequences(query)
    check_windows(again)
    assert (again.row == 2).all()
    np.testing.assert_allclose(again.probability, 3.0 / table.mass_of(query))


def test_what_is_held_out_has_no_priority() -> None:
    collected = collect()
    table = collected.table(replace(SPEC, sampler="prioritized", held_out_every=3))
    query = SequenceQuery(2_000, 6, by="priority", reach="after", held_out_every=3, part="learned")
    by_priority = starts(table.sequences(query))
    learned = starts(everything(collected.table(), replace(query, batch_size=1, by="row")))
    assert by_priority.keys() == learned.keys(), "all of the others, and nothing else"
    with pytest.raises(AssertionError):
        table.sequences(replace(query, held_out_every=2))
    with pytest.raises(AssertionError):
        replace(query, part="held_out")


def test_what_has_left_is_not_drawn_and_what_is_left_of_its_episode_is() -> None:
    collected = collect(4)
    table = collected.table(replace(SPEC, max_size=60))
    windows = everything(table, SequenceQuery(1, 1))
    check_windows(windows)
    assert windows.mask.sum() == table.num_items < 60
    everything(table, SequenceQuery(1, 4, reach="both"))
    many = collected.table(replace(SPEC, max_size=60))
    for sequence in range(300):  # the list of pieces is moved together now and then
        many.insert(replace(collected.segments[sequence % 40], source=Source(1, 0, sequence), episode=sequence))
    check_windows(everything(many, SequenceQuery(1, 3, reach="both")))


def test_segments_may_come_in_any_order_and_a_worker_that_begins_again_begins_episodes() -> None:
    collected = collect()
    expected = starts(everything(collected.table(), SequenceQuery(1, 4)))
    rng, size = np.random.default_rng(0), len(collected.segments)
    order = np.concatenate([rng.permutation(np.arange(first, min(first + 9, size))) for first in range(0, size, 9)])
    shuffled = replace(collected, segments=[collected.segments[index] for index in order])
    assert starts(everything(shuffled.table(), SequenceQuery(1, 4))) == expected
    half = len(collected.segments) // 2
    again = [replace(each, source=replace(each.source, incarnation=1)) for each in collected.segments[half:]]
    broken = replace(collected, segments=collected.segments[:half] + again)
    windows = everything(broken.table(), SequenceQuery(1, 4))
    check_windows(windows)
    assert len(windows.key) < expected.total(), "no window runs from one incarnation into the next"


def test_a_table_goes_on_from_what_it_saved() -> None:
    collected = collect(4)
    spec = replace(SPEC, max_size=150)
    ours, theirs = collected.table(spec, num_segments=50), Table(spec, collected.env.spec, collected.cut, seed=99)
    theirs.load(ours.save())
    for segment in collected.segments[50:]:
        for table in (ours, theirs):
            table.insert(segment)
    query = SequenceQuery(50, 5, by="episode", reach="after", turns=(1, 4))
    drawn = theirs.sequences(query)
    for name, values in vars(ours.sequences(query)).items():
        np.testing.assert_equal(vars(drawn)[name], values, err_msg=name)


@pytest.mark.parametrize("stack", [1, 4])
@pytest.mark.parametrize("most_steps", [5, 11, 100])
def test_what_a_turn_brought_are_the_unrolls_of_a_queue(stack: int, most_steps: int) -> None:
    collected = collect(2, stack=stack, most_steps=most_steps)
    length, unrolls = ROWS_OF_TURN // 4, 4
    batch = collected.table().collected(0, unrolls, length, range(ENVIRONMENTS))
    size = ENVIRONMENTS * unrolls
    assert batch.reward.shape == (size, length)
    queue = UnrollQueue(QueueSpec(max_size=1_000, batch_size=1), collected.env.spec, Unrolls(length=length))
    for block in collected.unrolls:
        queue.insert(block)
    whole = queue.sample(queue.num_items)
    for environment in range(ENVIRONMENTS):
        own = np.flatnonzero(whole.environment == environment)[:unrolls]
        ours = np.flatnonzero(batch.environment == environment)
        shown, seen = batch.observation[ours], whole.observation[own]
        np.testing.assert_array_equal(shown[:, :-1], seen[:, :-1])
        lives_on = ~(whole.terminated[own, -1] | (whole.truncated[own, -2] & ~whole.terminated[own, -2]))
        np.testing.assert_array_equal(shown[lives_on, -1], seen[lives_on, -1])
        for name in ("reward", "terminated", "truncated", "action"):
            np.testing.assert_array_equal(getattr(batch, name)[ours], getattr(whole, name)[own], err_msg=name)
    later = collected.table().collected(1, unrolls, length, range(ENVIRONMENTS))
    is_bootstrap = np.zeros_like(later.truncated)
    is_bootstrap[:, 1:] = (later.truncated & ~later.terminated)[:, :-1]
    assert (later.reward[is_bootstrap] == 0).all()
    assert (later.reward[~is_bootstrap] > 0).all(), "all other rows are steps, also the first ones of unrolls"


def test_ranks_share_the_environments_and_hear_of_every_loss() -> None:
    collected = collect(2)
    table = collected.table()
    turn, unrolls, length = 1, 2, 14
    shares = [table.collected(turn, unrolls, length, range(ENVIRONMENTS), rank, 2) for rank in range(2)]
    assert [set(share.environment.tolist()) for share in shares] == [{0, 2}, {1}]
    assert all(share.turn == turn for share in shares)
    lost = next(index for index, each in enumerate(collected.segments) if (each.turn, each.environment) == (1, 1))
    del collected.segments[lost]
    for rank in range(2):
        with pytest.raises(TurnTooSmall, match=r"turn 1 once more, of which \d+ of 28 rows of environment 1 are there"):
            collected.table().collected(turn, unrolls, length, range(ENVIRONMENTS), rank, 2)


def test_what_cannot_be_drawn_is_said() -> None:
    collected = collect(1)
    with pytest.raises(
        NothingToDraw, match=r"replay has no 500 rows in a row of an episode of turns 0 to 3, in what is not"
    ):
        collected.table().sequences(SequenceQuery(2, 500, turns=(0, 4), held_out=0.1, part="learned"))
    with pytest.raises(ReplayError, match=r"a table that keeps none.* keeps_episodes"):
        collected.table(replace(SPEC, keeps_episodes=False)).sequences(SequenceQuery(2, 5))
    queue = UnrollQueue(QueueSpec(), collected.env.spec, Unrolls(length=4))
    with pytest.raises(ReplayError, match="of a queue, which gives each unroll out once"):
        queue.sequences(SequenceQuery(2, 5))
    with pytest.raises(ReplayError, match="of a queue, whose batches are what a turn brings"):
        queue.collected(0, 1, 4, [0])
