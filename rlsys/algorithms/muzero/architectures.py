"""Which network there is for which settings."""

from dataclasses import replace

from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.efficientzero.consistency import Consistency
from rlsys.algorithms.muzero.efficientzero.network import EfficientZeroNetwork
from rlsys.algorithms.muzero.efficientzero.prefix import ValuePrefix
from rlsys.algorithms.muzero.networks import FCNetwork, MuZeroNetwork, Network, Sizes, TinyNetwork
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.algorithms.muzero.stochastic.network import Chance
from rlsys.types import EnvSpec

_PREFIX_INPUTS = 128
"""Numbers of a step that an LSTM reads of upstream's networks; EfficientZero's has its own."""
ARCHITECTURES: dict[str, type[Network]] = {
    "FCNetwork": FCNetwork,
    "TinyNetwork": TinyNetwork,
    "MuZeroNetwork": MuZeroNetwork,
    "EfficientZeroNetwork": EfficientZeroNetwork,
}


def make_network(config: MuZeroConfig, env: EnvSpec) -> Network:
    """Builds the configured architecture with new weights, from torch's global generator."""
    code, reward_size = action_code(config, env), reward_code(config).size
    architecture = ARCHITECTURES[config.architecture]
    sizes = Sizes(
        frame=env.observation.shape,
        num_stack=env.num_stack,
        num_actions=env.num_actions,
        num_numbers=code.num_factors if code.is_numbers else 0,
        policy=code.num_factors * code.num_values,
        value=value_code(config).size,
        reward=_PREFIX_INPUTS if config.value_prefix else reward_size,
        low=env.observation_low,
        high=env.observation_high,
        has_prefix=config.value_prefix is not None,
        num_channels=config.num_channels,
        num_action_channels=config.num_action_channels,
    )
    if config.chance_codes is None:
        network = architecture(sizes)
    else:
        network = architecture(replace(sizes, num_actions=0, num_numbers=config.chance_codes))
        network.chance = Chance(architecture(replace(sizes, policy=config.chance_codes)), config.chance_codes)
    if config.value_prefix:
        network.prefix = ValuePrefix(network.reward_size, reward_size, config.value_prefix)
    if config.consistency_weight:
        network.consistency = Consistency(network.state_size)
    return network
