"""PlaNet's update of its model: frames per second, beside the same update written down plainly in fp32.

    OMP_NUM_THREADS=1 python benchmarks/planet.py [--device cuda] [--windows B] [--frames T] [--json FILE]

The model at full size on 64 × 64 pixels, batches from memory; both begin with the same weights, and whether they come
to the same loss is checked first. Plainly means: layers in PyTorch's own layout, the first pixels by a transposed
convolution, each cell's layers one after the other at every moment, its own prior among them, pictures prepared and
weighed by one operation after the other, and Adam over a list of parameters. The two take turns. On a CPU one thread
computes and its own time counts; on a GPU, the wall's.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch
from clock import shortest_s
from rows import Implausible, json_option, positive, publish
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.learner import PlanetLearner
from rlsys.algorithms.planet.losses import Windows, compute_losses, mean
from rlsys.algorithms.planet.networks import ConvDecoder, WorldModel
from rlsys.algorithms.planet.transitions.cell import CellState, Step, stacked
from rlsys.algorithms.planet.transitions.rssm import RSSM
from rlsys.api import LearnerContext, SequenceQuery
from rlsys.ops.gaussians import LOG_NORMALISER
from rlsys.types import ArraySpec, EnvSpec, Sequences

ENV = EnvSpec(
    "pixels",
    ArraySpec((3, 64, 64), "uint8"),
    ArraySpec((1,), "float32"),
    num_actions=0,
    action_low=(-1.0,),
    action_high=(1.0,),
)
_TURNS = {"cpu": 2, "cuda": 10}


@dataclass(frozen=True)
class Row:
    """One measurement: frames that are learned from per second, and how many times as many as plainly."""

    what: str
    device: str
    frames_per_s: float
    plain_frames_per_s: float
    ratio: float


class PreparedReplay:
    """Gives the same windows again and again."""

    def __init__(self, size: int, frames: int) -> None:
        rng, rows = np.random.default_rng(0), frames - 1
        never, keys = np.zeros((size, rows), np.bool_), np.zeros(size, np.int64)
        self._windows = Sequences(
            observation=rng.integers(0, 256, (size, frames, 3, 64, 64), np.uint8),
            action=rng.uniform(-1.0, 1.0, (size, rows, 1)).astype(np.float32),
            reward=rng.random((size, rows)).astype(np.float32),
            terminated=never,
            truncated=never,
            extras={},
            mask=~never,
            row=keys,
            key=keys,
            probability=np.ones(size),
            num_items=size,
            weights_version=keys,
        )

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Returns the windows."""
        return self._windows


class PlainUpdate:
    """The same update, as the paper's equations read."""

    def __init__(self, config: PlanetConfig, model: WorldModel) -> None:
        self._config, self._model = config, model
        self._optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, eps=config.adam_epsilon)

    def loss(self, windows: Windows, noise: Tensor) -> Tensor:
        """Returns the loss of windows that are followed with noise `[T, B, S]`."""
        size, length = windows.reward.shape
        embedded = self._encode(windows.shown.flatten(end_dim=1)).view(size, length, -1)
        state, steps = self._model.agent.cell.initial(size), list[Step]()
        for frame in range(length):
            steps.append(self._observe(state, windows.action[:, frame], embedded[:, frame], noise[frame]))
            state = steps[-1].posterior
        states = Step(stacked(step.prior for step in steps), stacked(step.posterior for step in steps))
        features = torch.cat([states.posterior["sample"], states.posterior["belief"]], dim=-1)
        decoded = self._decode(features.flatten(end_dim=1)).view(windows.shown.shape)
        squared = 0.5 * (windows.shown - decoded).square() + LOG_NORMALISER
        image = mean(squared.flatten(start_dim=2).sum(dim=-1), windows.is_frame)
        unseen = replace(windows, shown=windows.shown[:, :, :0])  # all other losses
        rest = compute_losses(self._model, self._config, unseen, decoded[:, :, :0], states).total
        return rest + self._config.image_loss_scale * image

    def step(self, windows: Windows, shown: Tensor, noise: Tensor) -> None:
        """Does one update, from windows of which the pictures are bytes yet."""
        step = 2 ** (8 - self._config.image_bits)
        levels = torch.div(shown, step, rounding_mode="floor").float()
        prepared = (levels + torch.rand_like(levels)) / (256 // step) - 0.5
        self._optimizer.zero_grad()
        self.loss(replace(windows, shown=prepared), noise).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), self._config.gradient_clipping)
        self._optimizer.step()

    def _encode(self, pictures: Tensor) -> Tensor:
        hidden = pictures
        for layer in list(self._model.agent.encoder.children())[:-1]:
            hidden = layer(hidden)
        return hidden.permute(0, 2, 3, 1).flatten(start_dim=1)

    def _observe(self, state: CellState, action: Tensor, embedded: Tensor, noise: Tensor) -> Step:
        cell = self._model.agent.cell
        assert isinstance(cell, RSSM)
        inner = functional.relu(cell.input(torch.cat([state["sample"], action], dim=1)))
        belief = cell.belief(inner, state["belief"])
        mean, stddev = cell.prior(functional.relu(cell.prior_hidden(belief)))
        weight = torch.cat([cell.belief_hidden.weight, cell.seen_hidden.weight], dim=1)
        both = functional.linear(torch.cat([belief, embedded], dim=1), weight, cell.seen_hidden.bias)
        seen_mean, seen_stddev = cell.posterior(functional.relu(both))
        sample = seen_mean + seen_stddev * noise
        posterior = {"mean": seen_mean, "stddev": seen_stddev, "sample": sample, "belief": belief}
        return Step({"mean": mean, "stddev": stddev, "sample": mean, "belief": belief}, posterior)

    def _decode(self, features: Tensor) -> Tensor:
        decoder = self._model.decoder
        assert isinstance(decoder, ConvDecoder)
        first, *later = decoder.layers.children()
        weight = first.weight.view(-1, 5, 5, len(first.bias)).permute(0, 3, 1, 2)
        hidden = functional.conv_transpose2d(decoder.inner(features)[:, :, None, None], weight, first.bias, stride=2)
        for layer in later:
            hidden = layer(hidden)
        return hidden


def measure(device: str, size: int, frames: int) -> list[Row]:
    """Measures both, in turns.

    Raises:
      Implausible: they do not come to the same loss.
    """
    config = PlanetConfig(batch_size=size, length=frames, compare_every=0)
    learner = PlanetLearner(LearnerContext(config, ENV, seed=0, device=device))
    replay = PreparedReplay(size, frames)
    model = WorldModel(config, ENV).to(device)
    model.load_state_dict(learner._model.network.state_dict())
    plain, windows = PlainUpdate(config, model), learner._windows(replay._windows)
    noise = torch.zeros(frames, size, model.agent.cell.state_size, device=device)
    states = learner._model.network.agent.cell.unroll(
        learner._model.network.agent.embed(windows.shown), windows.action, noise
    )
    decoded = learner._model.network.decode(model.agent.cell.features(states.posterior))
    ours = compute_losses(learner._model.network, config, windows, decoded, states).total
    if not torch.allclose(ours, plain.loss(windows, noise), rtol=1e-3):
        raise Implausible("the two updates do not come to the same loss; nothing was measured. Repair either.")
    shown = torch.from_numpy(replay._windows.observation).to(device)
    updates = [lambda: learner.step(replay), lambda: plain.step(windows, shown, noise)]
    best = [float("inf")] * 2
    for _ in range(_TURNS[device]):
        best = [min(before, shortest_s(update, device, 1)) for before, update in zip(best, updates, strict=True)]
    rates = [size * frames / seconds for seconds in best]
    what = f"PlaNet, update of {size} × {frames} frames"
    return [Row(what, device, round(rates[0], 1), round(rates[1], 1), round(rates[0] / rates[1], 2))]


def main() -> None:
    """Measures and prints, or appends, a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--windows", type=positive(int), default=50, metavar="B")
    parser.add_argument("--frames", type=positive(int), default=50, metavar="T")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(options.device, options.windows, options.frames)
    command = f"python benchmarks/planet.py --windows {options.windows} --frames {options.frames}"
    publish(options.json, rows, command=command)


if __name__ == "__main__":
    main()
