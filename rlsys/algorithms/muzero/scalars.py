"""How values and rewards are written into, and read from, the outputs of their heads.

Schrittwieser et al. 2020, appendix F, https://arxiv.org/abs/1911.08265. Raw numbers are squashed by h and then become
a distribution over integer atoms; either step can be left out.
Shape legend: N outputs of a head.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.ops.losses import cross_entropy
from rlsys.ops.support import support_mean, two_hot
from rlsys.ops.value_transform import signed_hyperbolic, signed_parabolic


@dataclass(frozen=True)
class ScalarCode:
    """The code of one head.

    Attributes:
      support: first and last atom, in squashed units; None where the head gives the number itself.
      squash: whether h is applied.
      loss_name: of the loss without a support.
    """

    support: tuple[int, int] | None
    squash: bool
    loss_name: Literal["MSE", "Huber"]

    @property
    def size(self) -> int:
        """N, the outputs that the head needs."""
        return 1 if self.support is None else self.support[1] - self.support[0] + 1

    def decode(self, output: Tensor) -> Tensor:
        """Returns raw numbers `[...]` for outputs `[..., N]`."""
        squashed = output.squeeze(-1) if self.support is None else support_mean(output, self.support[0])
        return signed_parabolic(squashed) if self.squash else squashed

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Returns losses `[...]` of outputs `[..., N]` against raw targets `[...]`."""
        squashed = signed_hyperbolic(target) if self.squash else target
        if self.support is not None:
            return cross_entropy(output, two_hot(squashed, *self.support))
        compare = functional.mse_loss if self.loss_name == "MSE" else functional.smooth_l1_loss
        return compare(output.squeeze(-1), squashed, reduction="none")


def value_code(config: MuZeroConfig) -> ScalarCode:
    """Returns the code of the value head."""
    return _code(config, config.value_support)


def reward_code(config: MuZeroConfig) -> ScalarCode:
    """Returns the code of the reward head."""
    return _code(config, config.reward_support)


def _code(config: MuZeroConfig, support: tuple[int, int]) -> ScalarCode:
    return ScalarCode(None if config.no_support else support, not config.no_target_transform, config.scalar_loss)
