"""Where a learner is in its phases."""

from rlsys.api import Phase, Schedule

PHASES = (Phase("collect", 1, 2), Phase("learn", 1, 3), Phase("collect", 2, 1), Phase("learn", 2, 1))


def gone(steps: int) -> Schedule[str]:
    schedule = Schedule[str](PHASES)
    for _ in range(steps):
        schedule.advance()
    return schedule


def test_units_of_all_phases_are_done_one_after_the_other() -> None:
    schedule, done = Schedule[str](PHASES), []
    while schedule.steps_left():
        done.append((schedule.now.kind, schedule.now.epoch, schedule.is_at_beginning))
        assert schedule.steps_left() == 7 - schedule.steps
        schedule.advance()
    assert done == [
        ("collect", 1, True),
        ("collect", 1, False),
        ("learn", 1, True),
        ("learn", 1, False),
        ("learn", 1, False),
        ("collect", 2, True),
        ("learn", 2, True),
    ]
    assert schedule.steps == 7


def test_a_turn_begins_with_each_unit_of_collecting() -> None:
    assert [gone(steps).turns for steps in range(8)] == [1, 2, 2, 2, 2, 3, 3, 3]


def test_it_goes_on_where_it_was() -> None:
    for steps in range(7):
        resumed = Schedule[str](PHASES)
        resumed.load(gone(steps).save())
        assert (resumed.now, resumed.steps_left(), resumed.turns) == (
            PHASES[resumed.index],
            7 - steps,
            gone(steps).turns,
        )
        resumed.advance()
        assert resumed.save() == gone(steps + 1).save()
