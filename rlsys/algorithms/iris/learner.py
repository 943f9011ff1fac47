"""IRIS's learner: it goes through the phases of `phases.py`, one unit a step.

Micheli et al. 2023, algorithm 1, https://arxiv.org/abs/2209.00588.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from rlsys.algorithms.iris.comparison import STEPS, compare, imagined_episodes
from rlsys.algorithms.iris.components import (
    ActorCriticComponent,
    Component,
    TokenizerComponent,
    Windows,
    WorldModelComponent,
    tensors_of,
)
from rlsys.algorithms.iris.config import IrisConfig, Training
from rlsys.algorithms.iris.phases import make_phases, rows_of_environment
from rlsys.algorithms.iris.requirements import frame_shape
from rlsys.algorithms.iris.tokenizer.tokenizer import as_bytes
from rlsys.algorithms.iris.world import IrisWorld
from rlsys.api import Learner, LearnerContext, NothingToDraw, Replay, Saved, Schedule, SequenceQuery
from rlsys.nets.transfer import to_device, to_host
from rlsys.types import Array, Reconstruction, Sequences, Shown

_COMPARED = 16
"""Stretches of episodes at once that the world model is compared with."""
_RECONSTRUCTED = 3
"""Windows whose frames are shown beside what the tokenizer makes of them."""
_TOKENIZER, _ACTOR_CRITIC = "tokenizer.", "actor_critic."
_WORLD = ("tokenizer", "world_model")
"""Components that a world is made of."""


class IrisLearner(Learner):
    """One rank's components; what was collected is in replay."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: IrisConfig = context.config
        self._context, self._device = context, torch.device(context.device)
        config = self._config
        self._tokenizer = TokenizerComponent(config, context)
        self._world_model = WorldModelComponent(config, context, self._tokenizer)
        self._actor_critic = ActorCriticComponent(config, context, self._tokenizer, self._world_model)
        self._components: dict[str, Component[Any]] = {
            "tokenizer": self._tokenizer,
            "world_model": self._world_model,
            "actor_critic": self._actor_critic,
        }
        self._world = IrisWorld(
            self._tokenizer.tokenizer,
            self._world_model.model.network,
            self._tokenizer.model.precision,
            context.env,
            config.context,
        )
        self._shape, self._schedule = frame_shape(context.env), Schedule(make_phases(config))
        self._shown: dict[str, Shown] = {}
        torch.manual_seed(context.draw_seed)  # dropout, and all that is drawn in imagination
        if not context.is_resumed:
            self._begin_as_others()

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one unit of the present phase.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those before.
        """
        phase = self._schedule.now
        match phase.kind:
            case "collect":
                batch = replay.collected(1, rows_of_environment(self._config))
                metrics = {"real/mean_reward": float(batch.reward.mean())}
            case "compare":
                metrics = self._compare(replay)
            case kind:
                metrics = self._train(replay, kind)
        self._schedule.advance()
        return {**metrics, "iris/epoch": float(phase.epoch), "iris/phase": float(self._schedule.index)}

    def turns(self) -> int:
        """Returns how many turns of collecting it has begun."""
        return self._schedule.turns

    def steps_left(self) -> int:
        """Returns the units of this phase and all later ones that are not done."""
        return self._schedule.steps_left()

    def weights(self) -> Mapping[str, Array]:
        """Returns what acting needs: the actor-critic and, unless it sees frames as they are, the tokenizer."""
        weights = {f"{_ACTOR_CRITIC}{name}": array for name, array in self._actor_critic.model.weights().items()}
        if self._config.actor_critic.use_original_frames:
            return weights
        shown = self._tokenizer.model.weights().items()
        return {**weights, **{name: array for name, array in shown if name.startswith(_TOKENIZER)}}

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over all components but those that settings have named others for.

        Raises:
          CheckpointError: one of them is another one than this.
        """
        config = self._config
        if config.load_actor_critic_from is None:
            self._load_actor_critic(weights)
        if world is not None:
            named = (config.load_tokenizer_from, config.load_world_model_from)
            for name, location in zip(_WORLD, named, strict=True):
                if location is None:
                    self._components[name].model.load_weights(tensors_of(world[name]))

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last updates' gradients."""
        return {
            f"{name}/{part}": array
            for name, component in self._components.items()
            for part, array in component.model.histograms().items()
        }

    def shown(self) -> Mapping[str, Shown]:
        """Returns the newest comparison of the world model with what happened, reconstructions, and dreams."""
        shown, self._shown = self._shown, {}
        return shown

    def save(self) -> Saved:
        """Returns everything; the weights of tokenizer and world model apart."""
        saved = {name: component.model.save() for name, component in self._components.items()}
        optimizers = {name: parts.pop("optimizer") for name, parts in saved.items()}
        return {
            "world": {name: saved.pop(name) for name in _WORLD},
            **saved,
            "optimizer": optimizers,
            "progress": self._schedule.save(),
            "torch_rng": torch.random.get_rng_state().numpy(),
            "cuda_rng": torch.cuda.get_rng_state(self._device).numpy() if self._device.type == "cuda" else None,
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`: in the phase, and at the unit of it, where that was."""
        for name, component in self._components.items():
            parts = saved["world"][name] if name in _WORLD else saved[name]
            component.model.load({**parts, "optimizer": saved["optimizer"][name]})
        self._schedule.load(saved["progress"])
        torch.random.set_rng_state(torch.from_numpy(saved["torch_rng"].copy()))
        if self._device.type == "cuda" and saved["cuda_rng"] is not None:
            torch.cuda.set_rng_state(torch.from_numpy(saved["cuda_rng"].copy()), self._device)

    def _begin_as_others(self) -> None:
        """Takes over the components that settings name others for."""
        config, read = self._config, self._context.read_world
        if config.load_tokenizer_from is not None:
            world = read(config.load_tokenizer_from.reveal("iris.load_tokenizer_from"))
            self._tokenizer.model.load_weights(tensors_of(world["tokenizer"]))
        if config.load_world_model_from is not None:
            world = read(config.load_world_model_from.reveal("iris.load_world_model_from"))
            self._world_model.model.load_weights(tensors_of(world["world_model"]))
        if config.load_actor_critic_from is not None:
            source = config.load_actor_critic_from.reveal("iris.load_actor_critic_from")
            self._load_actor_critic(self._context.read_weights(source))

    def _load_actor_critic(self, weights: Mapping[str, Array]) -> None:
        named = weights.items()
        self._actor_critic.model.load_weights(
            {name.removeprefix(_ACTOR_CRITIC): array for name, array in named if name.startswith(_ACTOR_CRITIC)}
        )

    def _train(self, replay: Replay, kind: Literal["tokenizer", "world_model", "actor_critic"]) -> dict[str, float]:
        """Does one update of a component; all batches are drawn before anything changes."""
        component, training = self._components[kind], self._training(kind)
        queries = self._queries(kind) * training.gradient_accumulation
        drawn = [replay.sequences(query) for query in queries]
        batches, parts = [self._windows(sequences) for sequences in drawn], len(drawn) // training.gradient_accumulation
        metrics = component.step([_together(batches[at : at + parts]) for at in range(0, len(batches), parts)])
        component.check_finite(metrics, drawn, self._schedule.steps)
        if kind == "world_model" and self._config.world_model_training.prioritized:
            keys = np.concatenate([sequences.key for sequences in drawn])
            replay.update_priorities(keys, self._world_model.priorities())
        return metrics

    def _queries(self, kind: Literal["tokenizer", "world_model", "actor_critic"]) -> list[SequenceQuery]:
        """Returns what asks for a batch: of the world model's a share is drawn by priority."""
        query = self._query(kind)
        share = self._config.world_model_training.prioritized if kind == "world_model" else 0.0
        if not (by_priority := round(share * query.batch_size)):
            return [query]
        prioritized = replace(query, batch_size=by_priority, by="priority", age_weights=())
        by_age = replace(query, batch_size=query.batch_size - by_priority)
        return [by_age, prioritized] if by_age.batch_size else [prioritized]

    def _training(self, kind: Literal["tokenizer", "world_model", "actor_critic"]) -> Training:
        training: Training = getattr(self._config, f"{kind}_training")
        return training

    def _query(
        self, kind: Literal["tokenizer", "world_model", "actor_critic"], *, held_out: bool = False
    ) -> SequenceQuery:
        """Returns what asks for this rank's share of a component's batch.

        The tokenizer is given rows by themselves, or what follows them for its critic, or pairs for deltas; the world
        model windows that begin, and the actor-critic windows that end, at any row.
        """
        config = self._config
        with_returns = config.returns_rows if config.tokenizer.critic_weight else 1
        deltas = kind == "tokenizer" and config.tokenizer.deltas
        length, num_frames = {
            "tokenizer": (2, 2) if deltas else (with_returns, 1),
            "world_model": (config.world_model_training.length,) * 2,
            "actor_critic": (config.actor_critic.burn_in + 1,) * 2,
        }[kind]
        return SequenceQuery(
            self._training(kind).batch_size // self._context.num_ranks,
            length,
            num_frames=num_frames,
            by="episode",
            reach="inside" if deltas else "before" if kind == "actor_critic" else "after",
            age_weights=() if held_out else config.age_weights,
            held_out_every=config.held_out_every,
            part=self._part(held_out=held_out),
        )

    def _part(self, *, held_out: bool) -> Literal["all", "learned", "held_out"]:
        if not self._config.held_out_every:
            return "all"
        return "held_out" if held_out else "learned"

    def _compare(self, replay: Replay) -> dict[str, float]:
        """Returns losses of held-out episodes, and how far what is foretold is from what happened there.

        Where nothing is held out, it is all episodes; where none has come yet, nothing is compared.
        """
        try:
            frames = self._windows(replay.sequences(self._query("tokenizer", held_out=True)))
            windows = self._windows(replay.sequences(self._query("world_model", held_out=True)))
        except NothingToDraw:
            return {"world/held_out_windows": 0.0}
        with torch.no_grad():
            losses = self._tokenizer.losses(frames)
            found = {
                f"tokenizer/held_out_{name}": loss for name, loss in (("loss", losses.total), *losses.parts.items())
            }
            found |= {f"world/held_out_{name}": loss for name, loss in self._world_model.losses(windows).items()}
        found |= {f"world/held_out_{name}": share for name, share in self._world_model.accuracies(windows).items()}
        metrics = to_host(found)
        self._shown = {"tokenizer/reconstruction": self._reconstructions(windows), **self._dreams(windows, metrics)}
        stretches = self._stretches(replay)
        if stretches is not None:
            arrays = (stretches.observation, stretches.action, stretches.reward)
            errors, films = compare(self._world, *(self._to_device(array) for array in arrays))
            metrics |= errors
            self._shown["world/comparison"] = films
        return metrics

    def _reconstructions(self, windows: Windows) -> Sequence[Reconstruction]:
        """Returns frames of a few windows, and what the tokenizer makes of them."""
        shape, found = self._context.env.observation.shape, []
        columns = (part[:_RECONSTRUCTED] for part in (windows.frame, windows.action, windows.mask))
        for window, done, mask in zip(*columns, strict=True):
            frames, action = window[mask][None], done[mask][None]
            with torch.no_grad(), self._tokenizer.model.precision:
                seen = as_bytes(self._tokenizer.tokenizer.reconstruct(frames, action))
            pair = (part[0].reshape(-1, *shape).cpu().numpy() for part in (frames, seen))
            found.append(Reconstruction(*pair))
        return found

    def _dreams(self, windows: Windows, metrics: dict[str, float]) -> dict[str, Shown]:
        """Returns what the policy does in the world model after whole windows, and adds metrics of that.

        It does so once it learns there. What is drawn for it is not missing from what is learned by: torch's streams go
        on as if nothing had been.
        """
        whole = windows.mask.all(dim=1)
        if self._schedule.now.epoch <= self._config.actor_critic_training.start_after_epochs or not whole.any():
            return {}
        rows = slice(-1 - self._config.actor_critic.burn_in, None)
        begun = Windows(*(part[whole][:, rows] for part in windows))
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            dream = self._actor_critic.dream(begun)
        found, episodes = imagined_episodes(dream, self._context.env.observation.shape)
        metrics |= found
        return {"imagination/episodes": episodes}

    def _stretches(self, replay: Replay) -> Sequences | None:
        """Returns the longest windows that there are of those that can be compared; None where all are too short."""
        for steps in reversed(STEPS):
            query = SequenceQuery(
                _COMPARED,
                self._world.max_context - 1 + steps,
                held_out_every=self._config.held_out_every,
                part=self._part(held_out=True),
            )
            try:
                return replay.sequences(query)
            except NothingToDraw:
                continue
        return None

    def _windows(self, drawn: Sequences) -> Windows:
        """Returns rows that were drawn, as components know them."""
        frame = self._to_device(drawn.observation)
        columns = (drawn.action, drawn.reward, drawn.terminated, drawn.mask)
        return Windows(frame.reshape(*frame.shape[:2], *self._shape), *(self._to_device(column) for column in columns))

    def _to_device(self, array: Array) -> torch.Tensor:
        with self._context.timed("copy"):
            return to_device(array, self._device)


def _together(parts: Sequence[Windows]) -> Windows:
    """Returns one batch of several."""
    return parts[0] if len(parts) == 1 else Windows(*(torch.cat(part) for part in zip(*parts, strict=True)))
