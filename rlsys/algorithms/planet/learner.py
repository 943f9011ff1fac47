"""Who learns: each update trains the whole model on windows of episodes.

Hafner et al. 2019, algorithm 1, https://arxiv.org/abs/1811.04551.

Shape legend: B windows of this rank, T frames, S numbers of a stochastic state.
"""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.inputs import Actions, Pictures, make_inputs
from rlsys.algorithms.planet.losses import Losses, Windows, compute_losses
from rlsys.algorithms.planet.networks import WorldModel
from rlsys.algorithms.planet.seen import seen_part, told_parts
from rlsys.algorithms.planet.transitions.cell import Step
from rlsys.algorithms.planet.world import PlanetWorld
from rlsys.api import Learner, LearnerContext, NothingToDraw, Replay, ReplayNotReady, Saved, SequenceQuery
from rlsys.nets.optimizers import Adam
from rlsys.nets.trainable import Trainable
from rlsys.nets.transfer import to_device
from rlsys.planning.open_loop import foretell, reconstruct
from rlsys.types import Array, ModelComparison, Reconstruction, Sequences, Shown

_KNOWN_FRAMES = 5
"""From which the model begins what it is compared in; upstream's."""
_FAR = (1, 10, 50)
"""Steps ahead at which it is."""
_FILMED = 4
_RECONSTRUCTED, _RECONSTRUCTED_FRAMES = 3, 20
_WATCHED_EVERY = 8
"""Frames of a window from one that the mean of pictures is taken of to the next."""


class PlanetLearner(Learner):
    """One rank's world model; there is nothing else that learns."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: PlanetConfig = context.config
        self._context, self._device = context, torch.device(context.device)
        config, env = self._config, context.env
        self._model = Trainable(
            context,
            lambda: WorldModel(config, env),
            lambda flat: Adam(flat, epsilon=config.adam_epsilon),
            name="world",
            remedy="a lower planet.learning_rate",
            max_norm=config.gradient_clipping,
            precision=config.precision,
        )
        part = seen_part(env)
        assert part is not None, "refused before"
        self._seen, self._told = part, told_parts(env)
        self._inputs, self._actions = make_inputs(env, config.image_bits), Actions(env, self._device)
        self._world = PlanetWorld(self._model.network, config, env)
        self._generator = torch.Generator(self._device).manual_seed(context.draw_seed)
        self._shown: dict[str, Shown] = {}
        self._step = 0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one update.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those before.
        """
        drawn = replay.sequences(self._query("learned"))
        windows = self._windows(drawn)
        self._watch(windows)
        losses = self._losses(windows)
        metrics = self._model.step(
            losses.total, self._learning_rate(), {f"world/{name}": loss for name, loss in losses.parts.items()}
        )
        self._model.check_finite(metrics, {"reward from replay": drawn.reward}, self._step)
        self._step += 1
        if self._config.compare_every and self._step % self._config.compare_every == 0:
            metrics |= self._compare(replay, drawn)
        return metrics

    def weights(self) -> Mapping[str, Array]:
        """Returns what acting needs: the model without what draws pictures."""
        prefix = "agent."
        weights = self._model.weights().items()
        return {name.removeprefix(prefix): array for name, array in weights if name.startswith(prefix)}

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over another's whole model.

        Raises:
          CheckpointError: it is another one than this.
        """
        if world is not None:
            self._model.load_weights({**world["parameters"], **world.get("buffers", {})})

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last update's gradients."""
        return self._model.histograms()

    def shown(self) -> Mapping[str, Shown]:
        """Returns the newest comparison of the model with what happened, and what it makes of frames."""
        shown, self._shown = self._shown, {}
        return shown

    def save(self) -> Saved:
        """Returns everything; the model's weights apart."""
        saved = self._model.save()
        optimizer = saved.pop("optimizer")
        return {
            "world": saved,
            "optimizer": optimizer,
            "rng": self._generator.get_state().numpy(),
            "step": self._step,
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`."""
        self._model.load({**saved["world"], "optimizer": saved["optimizer"]})
        self._generator.set_state(torch.from_numpy(np.array(saved["rng"])))
        self._step = saved["step"]

    def _query(self, part: Literal["learned", "held_out"]) -> SequenceQuery:
        """Returns what asks for this rank's share of a batch."""
        config = self._config
        size = config.batch_size // self._context.num_ranks
        return SequenceQuery(size, config.length - 1, held_out_every=config.held_out_every, part=part)

    def _watch(self, windows: Windows) -> None:
        """Takes some of the pictures into what normalises them."""
        pictures = self._model.network.agent.pictures
        if pictures is not None:
            is_frame = windows.is_frame[:, ::_WATCHED_EVERY] > 0
            pictures.moments.update(windows.shown[:, ::_WATCHED_EVERY][is_frame], self._context.average)

    def _losses(self, windows: Windows) -> Losses:
        decoded, states = self._follow(windows)
        return compute_losses(self._model.network, self._config, windows, decoded, states)

    def _windows(self, drawn: Sequences) -> Windows:
        """Returns what was drawn as the networks know it; see `Windows`."""
        shown = self._to_device(self._seen.of(drawn.observation))
        is_row = self._first(self._to_device(drawn.mask).float())
        is_frame = is_row.clone()
        is_frame[:, 0] = is_row[:, 1]
        return Windows(
            shown=self._inputs.prepare(shown, self._generator),
            action=self._first(self._actions.encode(self._to_device(drawn.action))),
            reward=self._first(self._to_device(drawn.reward)),
            terminated=self._first(self._to_device(drawn.terminated).float()),
            is_frame=is_frame,
            is_row=is_row,
            told={
                part.name: self._to_device(part.of(drawn.observation)).float().flatten(start_dim=2)
                for part in self._told
            },
        )

    @staticmethod
    def _first(rows: Tensor) -> Tensor:
        """Returns `[B, T, ...]` of `[B, T - 1, ...]`: what led to each frame, nothing to the first."""
        return torch.cat([torch.zeros_like(rows[:, :1]), rows], dim=1)

    def _follow(self, windows: Windows) -> tuple[Tensor, Step]:
        """Returns what is seen in the states of windows, and the states."""
        network = self._model.network
        size, length = windows.reward.shape
        noise = torch.randn(length, size, network.agent.cell.state_size, generator=self._generator, device=self._device)
        with self._model.precision:
            seen = network.agent.embed(windows.shown).float()
        states = network.agent.cell.unroll(seen, windows.action, noise)
        with self._model.precision:
            decoded = network.decode(network.agent.cell.features(states.posterior)).float()
        return decoded, states

    def _compare(self, replay: Replay, learned: Sequences) -> dict[str, float]:
        """Returns losses of windows of episodes that are held out, and how far dreams are from what happened there.

        Without any, it is what was just learned from that dreams are compared with. `world/held_out_<loss>` are losses,
        `world/frame_error_at_<t>` is the mean absolute error of a number that is seen (a byte of a picture) t steps
        ahead, `world/copy_error_at_<t>` that of showing what is known last for ever, and `world/reward_error_at_<t>`
        that of the reward. Pictures are compared as they are when quantised.
        """
        drawn, metrics = learned, dict[str, float]()
        if self._config.held_out_every:
            try:
                drawn = replay.sequences(self._query("held_out"))
            except (NothingToDraw, ReplayNotReady):  # the update is done; the next comparison comes soon enough
                return {}
            with torch.no_grad():
                parts = self._losses(self._windows(drawn)).parts
            metrics = {f"world/held_out_{name}": float(loss) for name, loss in parts.items()}
        whole = np.flatnonzero(drawn.mask.all(axis=1))
        if drawn.reward.shape[1] < _KNOWN_FRAMES or not len(whole):
            return metrics
        arrays = (self._seen.of(drawn.observation), drawn.action, drawn.reward)
        shown, action, reward = (self._to_device(array[whole]) for array in arrays)
        foretold = foretell(self._world, shown[:, :_KNOWN_FRAMES], action, self._generator, self._world.show)
        foreseeable = self._inputs.show(self._inputs.prepare(shown[:, _KNOWN_FRAMES - 1 :]))
        known, real, happened = foreseeable[:, 0], foreseeable[:, 1:], reward[:, _KNOWN_FRAMES - 1 :]
        errors = dict[str, Tensor]()
        for far in [far for far in _FAR if far <= real.shape[1]]:
            now = real[:, far - 1].float()
            errors[f"world/frame_error_at_{far}"] = (foretold.observation[:, far - 1].float() - now).abs().mean()
            errors[f"world/copy_error_at_{far}"] = (known.float() - now).abs().mean()
            errors[f"world/reward_error_at_{far}"] = (foretold.reward - happened)[:, far - 1].abs().mean()
        if isinstance(self._inputs, Pictures):
            shows = (real, foretold.observation, happened, foretold.reward)
            rows = zip(*(part[:_FILMED].cpu().numpy() for part in shows), strict=True)
            seen = shown[:_RECONSTRUCTED, :_RECONSTRUCTED_FRAMES]
            made_of_it = reconstruct(self._world, seen, action[: len(seen), : seen.shape[1] - 1], self._world.show)
            real_of_it = self._inputs.show(self._inputs.prepare(seen))
            pairs = zip(*(part.cpu().numpy() for part in (real_of_it, made_of_it)), strict=True)
            self._shown = {
                "world/comparison": [ModelComparison(*row) for row in rows],
                "world/reconstruction": [Reconstruction(*pair) for pair in pairs],
            }
        return metrics | {name: float(error) for name, error in errors.items()}

    def _learning_rate(self) -> float:
        config = self._config
        risen = min(1.0, (self._step + 1) / config.learning_rate_ramp) if config.learning_rate_ramp else 1.0
        halvings = self._step / config.learning_rate_half_life if config.learning_rate_half_life else 0.0
        return config.learning_rate * risen * math.exp2(-halvings)

    def _to_device(self, array: Array) -> Tensor:
        with self._context.timed("copy"):
            return to_device(array, self._device)
