"""Arrays to a device, and numbers back."""

import numpy as np
import torch

from rlsys.nets.transfer import to_device, to_host


def test_arrays_that_are_read_only_or_not_contiguous_are_taken() -> None:
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    assert np.array_equal(to_device(array.T, torch.device("cpu")).numpy(), array.T)


def test_numbers_keep_their_names() -> None:
    scalars = {"a": torch.tensor(1.5), "b": torch.tensor(2.0, requires_grad=True)}
    assert to_host(scalars) == {"a": 1.5, "b": 2.0}
