"""Arrays on their way to the device that computes with them, and numbers on their way back."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsys.types import Array


def to_device(array: Array, device: torch.device) -> Tensor:
    """Copies to the device without waiting for it; on a CPU the tensor may share the array's memory."""
    tensor: Tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def to_host(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """Brings numbers from the device in one transfer, for which it waits."""
    return dict(zip(scalars, torch.stack(list(scalars.values())).detach().cpu().tolist(), strict=True))
