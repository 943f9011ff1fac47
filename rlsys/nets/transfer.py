"""Arrays on their way to the device that computes with them, and numbers on their way back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsys.types import Array


def to_device(array: Array, device: torch.device) -> Tensor:
    """Copies to the device without waiting for it; on a CPU the tensor may share the array's memory.

    Of records, which no tensor holds, it returns the bytes: `[..., N]` uint8 for `[...]` of N bytes each.
    """
    array = np.require(array, requirements=("C", "W"))
    if array.dtype.names is not None:
        array = array.view(np.uint8).reshape(*array.shape, array.dtype.itemsize)
    tensor: Tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_host(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """Brings numbers from the device in one transfer, for which it waits."""
    return dict(zip(scalars, torch.stack(list(scalars.values())).detach().cpu().tolist(), strict=True))
