"""From pictures of features to vectors."""

from torch import Tensor, nn


class FlattenPixels(nn.Module):
    """Flattens pixel by pixel rather than channel by channel.

    Pictures that lie channels last, as `ObservationInput` makes them, are then not copied, and neither are gradients on
    their way back: in another layout than what they belong to, they took the ReLU before four times as long.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, H * W * C]`."""
        return x_BCHW.movedim(1, -1).flatten(start_dim=1)
