"""The wiring of a neural circuit policy: which neurons each layer listens to.

    senses ──▶ inter ──▶ command ──▶ motor

Lechner et al. 2020, https://doi.org/10.1038/s42256-020-00237-3. It is the wiring of `AutoNCP` of ncps 1.0.1, synapse by
synapse, for the same seed; the loops there draw one number at a time, and so does the stream here, but at once.

Shape legend: S senses, I inter neurons, C command neurons, M motor neurons.
"""

from dataclasses import dataclass

import numpy as np

from rlsys.types import Array

_SHARE_OF_COMMAND = 0.4
"""Of all neurons that are no motor neurons."""
DENSITY = 0.5
"""Share of a layer that each neuron of the one before is connected with."""


@dataclass(frozen=True)
class Wiring:
    """Who listens to whom.

    Attributes:
      inter: `[S, I]` bool, whether an inter neuron listens to a sense.
      command: `[I, C]`, likewise.
      motor: `[C, M]`, likewise.
    """

    inter: Array
    command: Array
    motor: Array

    @property
    def layers(self) -> tuple[Array, Array, Array]:
        """All, from the senses on."""
        return self.inter, self.command, self.motor


def make_wiring(num_senses: int, num_units: int, num_motor: int, seed: int = 22_222) -> Wiring:
    """Draws a wiring.

    Args:
      num_senses: S.
      num_units: I + C + M, at least M + 3.
      num_motor: M.
      seed: of numpy's `RandomState`.
    """
    assert num_units > num_motor + 2, f"{num_units} units for {num_motor} outputs"
    num_others = num_units - num_motor
    num_command = max(int(_SHARE_OF_COMMAND * num_others), 1)
    num_inter = num_others - num_command
    rng = np.random.RandomState(seed)  # the stream that ncps draws from
    inter_fanout, command_fanout = max(int(num_inter * DENSITY), 1), max(int(num_command * DENSITY), 1)
    inter = _fan_out(rng, num_senses, num_inter, inter_fanout)
    command = _fan_out(rng, num_inter, num_command, command_fanout)
    # Synapses among command neurons: layers of CfC are dense within, and only the stream moves on.
    _discard_recurrent(rng, max(int(num_command * DENSITY * 2), 1), num_command)
    motor = _fan_out(rng, num_motor, num_command, command_fanout).T
    return Wiring(inter, command, motor)


def _fan_out(rng: np.random.RandomState, num_from: int, num_to: int, fanout: int) -> Array:
    """Connects each of some neurons with `fanout` of others, and those that were left out with as many as on average.

    Returns:
      `[num_from, num_to]` bool.
    """
    connected = np.zeros((num_from, num_to), dtype=bool)
    for source in range(num_from):
        connected[source, _choose(rng, num_to, fanout)] = True
    fanin = int(np.clip(int(num_from * fanout / num_to), 1, num_from))
    for target in np.flatnonzero(~connected.any(axis=0)):
        connected[_choose(rng, num_from, fanin), target] = True
    return connected


def _choose(rng: np.random.RandomState, num: int, size: int) -> Array:
    """Returns `size` of the first `num` numbers, and draws their polarities, which CfC does not have."""
    chosen = rng.permutation(num)[:size]
    rng.randint(0, 2, size=size)
    return chosen


def _discard_recurrent(rng: np.random.RandomState, num_synapses: int, num_command: int) -> None:
    for _ in range(num_synapses):
        rng.randint(0, num_command, size=2)
        rng.randint(0, 2)
