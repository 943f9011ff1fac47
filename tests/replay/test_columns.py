import numpy as np
import pytest

from rlsys.errors import CheckpointError
from rlsys.replay.columns import CompressedColumn, RingColumn, make_column
from rlsys.types import ArraySpec

_SPECS = [
    ArraySpec((), "bool"),
    ArraySpec((), "float32"),
    ArraySpec((3,), "uint8"),
    ArraySpec((2, 5), "int64"),
    ArraySpec((40, 30), "uint8"),
    ArraySpec((), np.dtype([("picture", "u1", (40, 30)), ("speed", "f4", (3,)), ("cell", "i8")])),
]


def _rows(rng, spec, count):
    """Rows of which some shrink and some do not."""
    rows = rng.integers(0, 256, (count, *spec.shape)).astype(spec.dtype)
    rows[::3] = 1
    return rows


def _expected(rows, slots, num_valid, origin, *, length, num_stack):
    """The definition, window by window and frame by frame."""
    result = np.zeros((len(slots), length, num_stack, *rows.shape[1:]), rows.dtype)
    for b in range(len(slots)):
        for t in range(min(length, num_valid[b])):
            for k in range(num_stack):
                result[b, t, k] = rows[max(slots[b] + t - (num_stack - 1 - k), origin[b])]
    return result[:, :, 0] if num_stack == 1 else result


@pytest.mark.parametrize("num_stack", [1, 4])
@pytest.mark.parametrize("length", [0, 1, 6])
@pytest.mark.parametrize("spec", _SPECS, ids=str)
@pytest.mark.parametrize("make", [RingColumn, CompressedColumn])
def test_windows_are_what_was_written_and_zero_beyond(make, spec, length, num_stack):
    rng = np.random.default_rng(0)
    capacity = 50
    column = make(spec, capacity, num_stack)
    rows = _rows(rng, spec, capacity)
    column.write(0, rows[:20], 20)
    column.write(20, rows[20:], 30)
    origin = np.array([0, 0, 20, 20, 20, 20])
    slots = np.array([0, 11, 20, 21, 23, 48])
    num_valid = np.array([20, 3, 30, 1, 5, 2])
    windows = column.gather(slots, num_valid, origin, length)
    np.testing.assert_array_equal(
        windows, _expected(rows, slots, num_valid, origin, length=length, num_stack=num_stack)
    )
    assert windows.dtype == spec.dtype
    assert windows.flags.writeable


@pytest.mark.parametrize("make", [RingColumn, CompressedColumn])
def test_slots_that_get_no_row_become_zero(make):
    spec = ArraySpec((2048,), "uint8")
    column = make(spec, 8)
    column.write(2, np.full((4, 2048), 7, np.uint8), 4)
    column.write(3, np.full((1, 2048), 9, np.uint8), 3)
    window = column.gather(np.array([2]), np.array([4]), np.array([2]), 4)
    np.testing.assert_array_equal(window[0, :, 0], [7, 9, 0, 0])


@pytest.mark.parametrize("make", [RingColumn, CompressedColumn])
def test_what_was_handed_in_may_change_afterwards_and_so_may_what_was_handed_out(make):
    column = make(ArraySpec((1500,), "uint8"), 4)
    rows = np.full((4, 1500), 3, np.uint8)
    column.write(0, rows, 4)
    rows[:] = 5
    everything = (np.array([0]), np.array([4]), np.array([0]), 4)
    column.gather(*everything)[:] = 6
    assert (column.gather(*everything) == 3).all()


def test_images_are_compressed_and_small_or_floating_rows_are_not():
    assert isinstance(make_column(ArraySpec((96, 96), "uint8"), 2), CompressedColumn)
    assert isinstance(make_column(ArraySpec((128,), "uint8"), 2), RingColumn)
    for picture, kind in (("u1", CompressedColumn), ("f4", RingColumn)):
        parts = np.dtype([("picture", picture, (96, 96)), ("speed", "f4", (300,))])
        assert isinstance(make_column(ArraySpec((), parts), 2), kind)
    assert isinstance(make_column(ArraySpec((), np.dtype([("a", "u1", (900,)), ("b", "f4", (300,))])), 2), RingColumn)
    assert isinstance(make_column(ArraySpec((96, 96), "float32"), 2), RingColumn)


def test_packed_bytes_are_the_bytes_of_the_packed_rows():
    rng = np.random.default_rng(3)
    column = CompressedColumn(ArraySpec((1024,), "uint8"), 10)
    noise = rng.integers(0, 256, (3, 1024), np.uint8)
    column.write(0, noise, 3)
    assert column.packed_bytes == 3 * (1024 + 33)
    column.write(3, np.zeros((5, 1024), np.uint8), 5)
    assert 3 * 1057 < column.packed_bytes < 3 * 1057 + 5 * 80
    column.write(0, np.zeros((3, 1024), np.uint8), 3)
    assert column.packed_bytes < 8 * 80
    column.clear(0, 10)
    assert column.packed_bytes == 0


@pytest.mark.parametrize("spec", [ArraySpec((3,), "float32"), ArraySpec((1100,), "uint8")], ids=str)
def test_saved_rows_come_back_in_their_slots_without_those_that_are_left_out(spec):
    rng = np.random.default_rng(4)
    column = make_column(spec, 20)
    rows = _rows(rng, spec, 20)
    column.write(0, rows, 20)
    saved = column.save(slice(5, 14))
    column.write(0, _rows(rng, spec, 20), 20)
    again = make_column(spec, 20)
    again.load(slice(7, 14), saved, left_out=2)
    window = again.gather(np.array([7]), np.array([7]), np.array([7]), 7)
    np.testing.assert_array_equal(window[0], rows[7:14])
    with pytest.raises(CheckpointError, match="expected"):
        make_column(spec, 20).load(slice(0, 5), saved)
