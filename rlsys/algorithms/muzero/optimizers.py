"""The optimizers that upstream offers, with its constants, on one flat vector of parameters."""

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.nets.flat import FlatParameters
from rlsys.nets.optimizers import SGD, Adam, FlatOptimizer, RMSprop

_ADAM_EPSILON = 1.5e-4
_RMSPROP_EPSILON = 0.01


def make_optimizer(config: MuZeroConfig, flat: FlatParameters) -> FlatOptimizer:
    """Returns the configured optimizer of all parameters."""
    decay, momentum = config.weight_decay, config.momentum
    match config.optimizer:
        case "SGD":
            return SGD(flat, momentum=momentum, weight_decay=decay)
        case "RMSprop":
            return RMSprop(flat, epsilon=_RMSPROP_EPSILON, momentum=momentum, weight_decay=decay)
        case "Adam" | "AdamW":
            is_decoupled = config.optimizer == "AdamW"
            return Adam(flat, epsilon=_ADAM_EPSILON, weight_decay=decay, decoupled=is_decoupled)
