"""Changes to pictures that a policy should not mind, drawn anew whenever something is learned from them.

    shift       moved by up to 4 pixels each way, the border repeated
                (Kostrikov et al. 2021, section 3, https://arxiv.org/abs/2004.13649)
    intensity   times 1 + 0.05 n, n normal within ±2
                (Schwarzer et al. 2021, appendix A, https://arxiv.org/abs/2007.05929)

Shape legend: N pictures, C planes of one, H height, W width.
"""

from collections.abc import Collection

import torch
from torch import Tensor

_FURTHEST = 4
_DEVIATION, _MOST = 0.05, 2.0


def augmented(pictures: Tensor, how: Collection[str], generator: torch.Generator) -> Tensor:
    """Returns pictures `[N, ..., H, W]`, each changed by itself, all of its planes alike.

    Args:
      pictures: bytes or numbers.
      how: of "shift" and "intensity".
      generator: on the pictures' device.

    Returns:
      The same shape; float32 where intensities are changed.
    """
    if "shift" in how:
        pictures = _shifted(pictures, generator)
    if "intensity" in how:
        noise_N = torch.randn(len(pictures), generator=generator, device=pictures.device).clamp_(-_MOST, _MOST)
        pictures = pictures.float() * (1.0 + _DEVIATION * noise_N).view(-1, *[1] * (pictures.dim() - 1))
    return pictures


def _shifted(pictures: Tensor, generator: torch.Generator) -> Tensor:
    size, (height, width), device = len(pictures), pictures.shape[-2:], pictures.device
    by_N2 = torch.randint(-_FURTHEST, _FURTHEST + 1, (size, 2), generator=generator, device=device)
    planes_NCHW = pictures.reshape(size, -1, height, width)
    row_NH = (torch.arange(height, device=device) + by_N2[:, :1]).clamp_(0, height - 1)
    column_NW = (torch.arange(width, device=device) + by_N2[:, 1:]).clamp_(0, width - 1)
    moved = planes_NCHW.gather(2, row_NH[:, None, :, None].expand_as(planes_NCHW))
    return moved.gather(3, column_NW[:, None, None, :].expand_as(planes_NCHW)).reshape(pictures.shape)
