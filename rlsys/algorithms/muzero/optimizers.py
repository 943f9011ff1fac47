"""The optimizers that upstream offers, with its constants, on one flat vector of parameters."""

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.nets.flat import FlatParameters
from rlsys.nets.optimizers import FlatOptimizer

_ADAM_EPS = 1.5e-4
_RMSPROP_EPS = 0.01


def make_optimizer(config: MuZeroConfig, flat: FlatParameters) -> FlatOptimizer:
    """Returns the configured optimizer of all parameters."""
    return FlatOptimizer(flat, _of_torch(config, flat.vector))


def _of_torch(config: MuZeroConfig, vector: nn.Parameter) -> Optimizer:
    lr, decay = config.lr_init, config.weight_decay
    match config.optimizer:
        case "SGD":
            return SGD([vector], lr=lr, momentum=config.momentum, weight_decay=decay, fused=True)
        case "RMSprop":
            return RMSprop([vector], lr=lr, momentum=config.momentum, weight_decay=decay, eps=_RMSPROP_EPS)
        case "Adam":
            return Adam([vector], lr=lr, weight_decay=decay, eps=_ADAM_EPS, fused=True)
        case "AdamW":
            return AdamW([vector], lr=lr, weight_decay=decay, eps=_ADAM_EPS, fused=True)
