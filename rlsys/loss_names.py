"""Which metrics are losses, and of what: `loss/value`, `world/image_loss`, `world/held_out_image_loss`."""

from collections.abc import Mapping
from typing import NamedTuple

_HELD_OUT = "held_out"


class LossName(NamedTuple):
    """What a loss is of, and whether that is of episodes that are not learned from."""

    of: str
    is_held_out: bool


def read_loss_name(metric: str) -> LossName | None:
    """Returns what the name of a metric says, or None where it is no loss.

    In the group `loss` all are; elsewhere what ends with `_loss` and, in `world`, what begins with `loss_`.
    """
    group, slash, name = metric.partition("/")
    own = name.removeprefix(f"{_HELD_OUT}_")
    bare = own.removesuffix("_loss")
    if group == "world" and bare == own:
        bare = own.removeprefix("loss_")
    if not slash or "/" in name or (group != "loss" and bare == own):
        return None
    return LossName(bare, group == _HELD_OUT or own != name)


def losses_in(row: Mapping[str, float]) -> dict[str, float]:
    """Returns those of a row of metrics."""
    return {name: value for name, value in row.items() if read_loss_name(name) is not None}
