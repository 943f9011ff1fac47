"""The optimizers that upstream offers, with its constants, on one flat vector of parameters."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from rlsys.algorithms.muzero.config import MuZeroConfig

_ADAM_EPS = 1.5e-4
_RMSPROP_EPS = 0.01


def make_optimizer(config: MuZeroConfig, vector: nn.Parameter) -> Optimizer:
    """Returns the configured optimizer of all parameters; its learning rate is set before each step."""
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


def save_optimizer(optimizer: Optimizer, vector: nn.Parameter) -> dict[str, Any]:
    """Returns its state, name -> array; empty before the first step."""
    return {
        name: value.detach().to("cpu", copy=True).numpy()
        for name, value in optimizer.state[vector].items()
        if value is not None
    }


def load_optimizer(optimizer: Optimizer, vector: nn.Parameter, saved: Mapping[str, Any]) -> None:
    """Takes over what `save_optimizer` returned."""
    state = {"state": {0: {name: torch.tensor(value) for name, value in saved.items()}} if saved else {}}
    optimizer.load_state_dict({**optimizer.state_dict(), **state})
