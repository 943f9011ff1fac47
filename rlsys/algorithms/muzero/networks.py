"""MuZero's networks: representation, dynamics and prediction, in the three sizes of upstream.

`architectures.py` makes them, and EfficientZero's.

Schrittwieser et al. 2020, appendix F and G, https://arxiv.org/abs/1911.08265.
Shape legend: B batch, K unroll steps, A actions, D numbers of an action, P size of the policy head (A, or D times the
values of a number), S state features (FCNetwork) or channels (the others), C H W image planes, F features of a head's
input, V size of the value head, R size of the reward head, or of what is said of a value prefix.
"""

import abc
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.muzero.efficientzero.consistency import Consistency
from rlsys.algorithms.muzero.efficientzero.prefix import ValuePrefix
from rlsys.algorithms.muzero.stochastic.network import Chance, batch_first
from rlsys.nets.residual import PlainResidualBlock, ResidualBlock, conv3x3
from rlsys.nets.scaling import RescaleObservation, min_max_scale
from rlsys.ops.gradients import scale_gradient

HIDDEN_SIZE = 512
"""Units of the hidden layer of every head."""
_STATE_SIZE = 50


class Prediction(NamedTuple):
    """What the networks say about B states: value `[B, V]` and policy logits `[B, P]`."""

    value: Tensor
    policy: Tensor


class Unroll(NamedTuple):
    """K imagined steps: value `[B, K + 1, V]`, reward `[B, K, R]` and policy logits `[B, K + 1, P]`."""

    value: Tensor
    reward: Tensor
    policy: Tensor


@dataclass(frozen=True)
class Sizes:
    """What decides about the shapes of a network.

    Attributes:
      frame: shape of one frame: features, `[H, W]`, or `[C, H, W]`.
      num_stack: frames that the policy sees at once.
      num_actions: A that the dynamics read; 0 for numbers.
      num_numbers: D, of an action, or of a code of chance; 0 for discrete actions.
      policy: P.
      value, reward: outputs of these heads: atoms of their supports, or 1; of the reward head what `prefix` reads.
      low, high: bounds to which observations are rescaled; empty for none.
      has_prefix: whether `Network.prefix` reads what the reward head gives.
      num_channels, num_action_channels: of states, and of embedded actions, where the architecture has no fixed ones.
    """

    frame: tuple[int, ...]
    num_stack: int
    num_actions: int
    num_numbers: int
    policy: int
    value: int
    reward: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    has_prefix: bool = False
    num_channels: int = 0
    num_action_channels: int = 0


class Network(nn.Module, abc.ABC):
    """The three functions. Heads give logits (or scalars without a support); `scalars` decodes them.

    States of upstream's are scaled to [0, 1], so that they have the range of the actions that are attached to them.

    Attributes:
      consistency: what imagined states are compared with real ones by; None where they are not.
      prefix: what makes value prefixes of what `predict_reward` returns, which then is no reward; None without them.
      chance: what there is between an action and what `transition` reads, a code of what happened; None where
        that reads actions.
      dynamics_gradient: share of the gradient that goes back through a state that enters a transition (appendix G).
    """

    dynamics_gradient = 0.5

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.rescale = RescaleObservation(sizes.low, sizes.high)
        self.consistency: Consistency | None = None
        self.prefix: ValuePrefix | None = None
        self.chance: Chance | None = None

    @property
    @abc.abstractmethod
    def state_shape(self) -> tuple[int, ...]:
        """Shape of one state: S, and of planes their height and width."""

    @property
    def state_size(self) -> int:
        """Numbers of a state, over all axes."""
        return math.prod(self.state_shape)

    @property
    def reward_size(self) -> int:
        """Numbers that `predict_reward` returns of a transition."""
        return self.sizes.reward

    def _planes(self, observation: Tensor) -> Tensor:
        """Returns images `[B, H, W]`, `[B, C, H, W]`, or stacks of them, as `[B, planes, H, W]`."""
        observation = self.rescale(observation)
        return observation.reshape(len(observation), -1, *self.sizes.frame[-2:])

    @abc.abstractmethod
    def represent(self, observation: Tensor) -> Tensor:
        """Returns the state `[B, S, ...]` of raw observations `[B, *observation]`."""

    @abc.abstractmethod
    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the next state `[B, S, ...]` and what `predict_reward` reads `[B, F, ...]`.

        Actions are `[B]` int64, or numbers `[B, D]` in [-1, 1].
        """

    @abc.abstractmethod
    def predict_reward(self, features: Tensor) -> Tensor:
        """Returns `[B, R]` for the reward of the transition; or `[B, F]` that its value prefix is made of."""

    @abc.abstractmethod
    def predict(self, state: Tensor) -> Prediction:
        """Returns value and policy of a state."""

    def unroll(self, observation: Tensor, action_BK: Tensor) -> Unroll:
        """Imagines K steps from each observation: see `unroll_with_states`."""
        return self.unroll_with_states(observation, action_BK)[0]

    def unroll_with_states(self, observation: Tensor, action_BK: Tensor) -> tuple[Unroll, Tensor]:
        """Imagines K steps from each observation; of actions that are numbers `[B, K, D]`.

        All heads see all steps in one batch.

        Returns:
          What is foretold, and the states after each step, `[K * B, S, ...]`, ordered by step.
        """
        state = self.represent(observation)
        states, features = [state], []
        for action in action_BK.unbind(dim=1):
            state, feature = self.transition(scale_gradient(state, self.dynamics_gradient), action)
            states.append(state)
            features.append(feature)
        return self.foretold(states, features), torch.cat(states[1:])

    def foretold(self, states: list[Tensor], features: list[Tensor]) -> Unroll:
        """Returns what is foretold of K + 1 states `[B, S, ...]`, and by what `transition` gave for K rewards."""
        num_steps = len(features)
        prediction, reward = self.predict(torch.cat(states)), self.predict_reward(torch.cat(features))
        if self.prefix is not None:
            reward = self.prefix.unroll(reward.view(num_steps, len(states[0]), -1)).flatten(end_dim=1)
        return Unroll(
            batch_first(prediction.value, num_steps + 1),
            batch_first(reward, num_steps),
            batch_first(prediction.policy, num_steps + 1),
        )


class Perceptron(nn.Module):
    """Two linear layers with a ReLU between them."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_in, HIDDEN_SIZE)
        self.out = nn.Linear(HIDDEN_SIZE, num_out)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Returns `[B, num_out]`."""
        return self.out(functional.relu(self.hidden(x_BF)))  # type: ignore[no-any-return]


class FCNetwork(Network):
    """Perceptrons on a state of 50 features; observations are flattened, discrete actions are one-hot."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        with_action = _STATE_SIZE + (sizes.num_actions or sizes.num_numbers)
        self.representation = Perceptron(sizes.num_stack * math.prod(sizes.frame), _STATE_SIZE)
        self.dynamics = Perceptron(with_action, _STATE_SIZE)
        self.reward = Perceptron(with_action, sizes.reward)
        self.value = Perceptron(_STATE_SIZE, sizes.value)
        self.policy = Perceptron(_STATE_SIZE, sizes.policy)

    @property
    def state_shape(self) -> tuple[int, ...]:
        """S."""
        return (_STATE_SIZE,)

    def represent(self, observation: Tensor) -> Tensor:
        """Returns `[B, S]`."""
        observation_BF = self.rescale(observation).flatten(start_dim=1)
        return min_max_scale(functional.relu(self.representation(observation_BF)))

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the next state `[B, S]`, and the state with its action `[B, S + A]` (or D) for the reward."""
        if self.sizes.num_actions:
            action = functional.one_hot(action, self.sizes.num_actions)
        input_BF = torch.cat([state, action.to(state.dtype)], dim=1)
        return min_max_scale(functional.relu(self.dynamics(input_BF))), input_BF

    def predict_reward(self, features: Tensor) -> Tensor:
        """Returns `[B, R]`."""
        return self.reward(features)  # type: ignore[no-any-return]

    def predict(self, state: Tensor) -> Prediction:
        """Returns value and policy."""
        return Prediction(self.value(state), self.policy(state))


class TinyNetwork(Network):
    """A few convolutions without normalisation; state `[B, 64, H / 16, W / 16]`. No layers are shared between heads."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        num_planes, *pixels = image_shape(sizes)
        channels = 64
        with_action = channels + action_planes(sizes)
        self.representation = nn.Sequential(
            conv3x3(num_planes, 32, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            conv3x3(32, channels, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
            PlainResidualBlock(channels),
            conv3x3(channels, channels),
            nn.Tanh(),
        )
        self.dynamics = nn.Sequential(PlainResidualBlock(with_action), conv3x3(with_action, channels), nn.Tanh())
        self.reward = _tiny_head(with_action, math.prod(pixels), sizes.reward)
        self.value = _tiny_head(channels, math.prod(pixels), sizes.value)
        self.policy = _tiny_head(channels, math.prod(pixels), sizes.policy)
        self._state_shape = channels, *pixels

    @property
    def state_shape(self) -> tuple[int, ...]:
        """S planes."""
        return self._state_shape

    def represent(self, observation: Tensor) -> Tensor:
        """Returns `[B, 64, H / 16, W / 16]`."""
        return min_max_scale(self.representation(self._planes(observation)))

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the next state, and the state with the planes of its action for the reward."""
        planes_BCHW = with_action_planes(state, action, self.sizes.num_actions)
        return min_max_scale(self.dynamics(planes_BCHW)), planes_BCHW

    def predict_reward(self, features: Tensor) -> Tensor:
        """Returns `[B, R]`."""
        return self.reward(features)  # type: ignore[no-any-return]

    def predict(self, state: Tensor) -> Prediction:
        """Returns value and policy."""
        return Prediction(self.value(state), self.policy(state))


class MuZeroNetwork(Network):
    """Towers of 16 residual blocks; state `[B, 128, H / 16, W / 16]`. The paper's shape with half of its channels.

    Batch normalisation sees all steps of an unroll as one batch, and each learner rank its own share of it.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        num_planes, *pixels = image_shape(sizes)
        half, channels = 64, 128
        features = channels * math.prod(pixels)
        self.representation = nn.Sequential(
            conv3x3(num_planes, half, stride=2),
            _tower(half, 2),
            conv3x3(half, channels, stride=2),
            _tower(channels, 3),
            nn.AvgPool2d(kernel_size=3, stride=2, padding=1),
            _tower(channels, 3),
            nn.AvgPool2d(kernel_size=3, stride=2, padding=1),
            _tower(channels, 16),
        )
        self.dynamics = nn.Sequential(
            conv3x3(channels + action_planes(sizes), channels),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            _tower(channels, 16),
        )
        self.prediction = _tower(channels, 16)
        self.reward = Perceptron(features, sizes.reward)
        self.value = Perceptron(features, sizes.value)
        self.policy = Perceptron(features, sizes.policy)
        self._state_shape = channels, *pixels

    @property
    def state_shape(self) -> tuple[int, ...]:
        """S planes."""
        return self._state_shape

    def represent(self, observation: Tensor) -> Tensor:
        """Returns `[B, 128, H / 16, W / 16]`."""
        return min_max_scale(self.representation(self._planes(observation)))

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the next state, and the same before it is scaled for the reward."""
        planes_BCHW = self.dynamics(with_action_planes(state, action, self.sizes.num_actions))
        return min_max_scale(planes_BCHW), planes_BCHW

    def predict_reward(self, features: Tensor) -> Tensor:
        """Returns `[B, R]`."""
        return self.reward(features.flatten(start_dim=1))  # type: ignore[no-any-return]

    def predict(self, state: Tensor) -> Prediction:
        """Returns value and policy, from one tower."""
        features_BF = self.prediction(state).flatten(start_dim=1)
        return Prediction(self.value(features_BF), self.policy(features_BF))


def _tower(num_channels: int, num_blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(num_channels) for _ in range(num_blocks)))


def _tiny_head(num_channels: int, num_pixels: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(
        PlainResidualBlock(num_channels), nn.Flatten(start_dim=1), Perceptron(num_channels * num_pixels, num_out)
    )


def image_shape(sizes: Sizes) -> tuple[int, int, int]:
    """Returns planes of a stack of images, and height and width of a state: a sixteenth of theirs, rounded up."""
    *channels, height, width = sizes.frame
    return sizes.num_stack * math.prod(channels), math.ceil(height / 16), math.ceil(width / 16)


def action_planes(sizes: Sizes) -> int:
    """Returns how many planes say an action."""
    return sizes.num_numbers or 1


def with_action_planes(state: Tensor, action: Tensor, num_actions: int) -> Tensor:
    """Appends to each state a plane of the value a / A, or one of each number."""
    value_BD = action.to(state.dtype)[:, None] / num_actions if num_actions else action.to(state.dtype)
    planes = value_BD[:, :, None, None].expand(-1, -1, *state.shape[2:])
    return torch.cat([state, planes], dim=1)
