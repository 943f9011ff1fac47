"""SimPLe's learner: it goes through the phases of `phases.py`, one unit a step.

Kaiser et al. 2020, algorithm 1, https://arxiv.org/abs/1903.00374.

Shape legend: B rollouts.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlsys.algorithms.ppo.learner import learned_from
from rlsys.algorithms.ppo.updates import PolicyUpdates
from rlsys.algorithms.simple.comparison import compare
from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.networks import INPUT_FRAMES
from rlsys.algorithms.simple.phases import make_phases, unrolls_of_turn
from rlsys.algorithms.simple.simulated_experience import simulate
from rlsys.algorithms.simple.world import SimpleWorld
from rlsys.algorithms.simple.world_model_updates import WorldModelUpdates
from rlsys.api import Learner, LearnerContext, NothingToDraw, Replay, Saved, Schedule, SequenceQuery, WorldState
from rlsys.nets.transfer import to_device
from rlsys.types import Array, Sequences, Shown

_HELD_OUT = 1 / 11
"""Share of each epoch's rows that the model does not learn from."""
_FAR = 2**62
"""A turn that never comes."""
_FILMED = 4
"""Stretches of held-out episodes that a film of a comparison shows."""


class SimpleLearner(Learner):
    """One rank's world model and policy; what was collected is in replay."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: SimpleConfig = context.config
        self._context = context
        self._device = torch.device(context.device)
        self._world_updates = WorldModelUpdates(self._config.world_model, context)
        self._policy_updates = PolicyUpdates(self._config.ppo, context, "simple.ppo")
        model = self._world_updates.model
        self._world = SimpleWorld(
            model.network, model.forward, model.precision, context.env, self._config.intrinsic_reward_scale
        )
        self._schedule = Schedule(make_phases(self._config))
        self._epochs: list[int] = []
        """First turns of what was collected in each epoch."""
        self._shown: dict[str, Shown] = {}
        torch.manual_seed(context.draw_seed)  # dropout, bits and actions in the simulated environment
        source = self._config.load_world_from
        if source is not None and not context.is_resumed:
            self._world_updates.load_world(context.read_world(source.reveal("simple.load_world_from")))

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one unit of the present phase.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those before.
        """
        phase = self._schedule.now
        match phase.kind:
            case "collect":
                metrics = self._collect(replay)
            case "model":
                metrics = self._train_model(replay)
            case "policy":
                metrics = self._train_policy(replay, phase.epoch)
            case "compare":
                metrics = self._compare(replay)
        self._schedule.advance()
        return {**metrics, "simple/epoch": float(phase.epoch), "simple/phase": float(self._schedule.index)}

    def turns(self) -> int:
        """Returns how many turns of collecting it has begun."""
        return self._schedule.turns

    def steps_left(self) -> int:
        """Returns the units of this phase and all later ones that are not done."""
        return self._schedule.steps_left()

    def weights(self) -> Mapping[str, Array]:
        """Returns the policy's parameters: the world model stays here."""
        return self._policy_updates.actor_critic.weights()

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over a policy and, unless `load_world_from` has named one, a world model.

        Raises:
          CheckpointError: the world model is another one than this.
        """
        self._policy_updates.actor_critic.load_weights(weights)
        if world is not None and self._config.load_world_from is None:
            self._world_updates.load_world(world)

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last updates' gradients."""
        of_world = {f"world/{name}": array for name, array in self._world_updates.model.histograms().items()}
        return {**self._policy_updates.actor_critic.histograms(), **of_world}

    def shown(self) -> Mapping[str, Shown]:
        """Returns the newest comparison of the model with held-out episodes."""
        shown, self._shown = self._shown, {}
        return shown

    def save(self) -> Saved:
        """Returns everything; the world model's weights apart."""
        world, training = self._world_updates.save()
        return {
            "world": world,
            "training": training,
            "policy": self._policy_updates.save(),
            "progress": self._schedule.save(),
            "epochs": list(self._epochs),
            "torch_rng": torch.random.get_rng_state().numpy(),
            "cuda_rng": self._cuda_state(),
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`: in the phase, and at the unit of it, where that was."""
        self._world_updates.load(saved["world"], saved["training"])
        self._policy_updates.load(saved["policy"])
        self._schedule.load(saved["progress"])
        self._epochs = list(saved["epochs"])
        torch.random.set_rng_state(torch.from_numpy(saved["torch_rng"].copy()))
        if self._device.type == "cuda" and saved["cuda_rng"] is not None:
            torch.cuda.set_rng_state(torch.from_numpy(saved["cuda_rng"].copy()), self._device)

    def _collect(self, replay: Replay) -> dict[str, float]:
        """Waits for a turn, and learns a little from it, if it may."""
        batch = replay.collected(*unrolls_of_turn(self._config))
        if self._schedule.is_at_beginning:
            self._epochs.append(batch.turn)
        metrics: dict[str, float] = {}
        if self._config.learn_from_real:
            metrics = self._policy_updates.learn(
                self._policy_updates.experience(batch, self._to_device), self._config.ppo.learning_rate
            )
            self._policy_updates.actor_critic.check_finite(
                metrics, learned_from(batch, self._context.env), self._schedule.steps
            )
        return {f"real/{name.replace('/', '_')}": value for name, value in metrics.items()} | {
            "real/mean_reward": float(batch.reward.mean())
        }

    def _train_model(self, replay: Replay) -> dict[str, float]:
        model = self._config.world_model
        query = self._query(model.batch_size, INPUT_FRAMES + model.target_frames, part="learned")
        frame, action, reward = self._on_device(replay.sequences(query))
        *_, height, width = frame.shape
        metrics = self._world_updates.step(frame.reshape(*frame.shape[:2], -1, height, width), action, reward)
        self._world_updates.model.check_finite(metrics, {}, self._schedule.steps)
        return metrics

    def _train_policy(self, replay: Replay, epoch: int) -> dict[str, float]:
        config = self._config
        history = self._starts(replay)
        experience = simulate(
            self._world, self._policy_updates, history, config.simulated_rollout_length, epoch + 1, self._seen
        )
        metrics = self._policy_updates.learn(experience, config.ppo.learning_rate, epoch + 1)
        self._policy_updates.actor_critic.check_finite(metrics, {}, self._schedule.steps)
        return metrics | {"simulation/mean_reward": float(experience.reward.mean())}

    def _starts(self, replay: Replay) -> tuple[Tensor, Tensor]:
        """Returns history of the newest epoch for each rollout: frames `[B, 4, *frame]`, actions `[B, 3]`."""
        config, size = self._config, self._config.simulated_batch_size
        beginning = self._query(size, INPUT_FRAMES, newest=True, begins=True)
        if not config.simulation_random_starts:
            windows = replay.sequences(beginning)
            return self._to_device(windows.observation), self._to_device(windows.action)
        windows = replay.sequences(self._query(size, INPUT_FRAMES, newest=True, by="episode", part="learned"))
        frame, action = self._to_device(windows.observation), self._to_device(windows.action)
        if config.simulation_flip_first_random_for_beginning:
            first = replay.sequences(replace(beginning, batch_size=1))
            frame = torch.cat([self._to_device(first.observation), frame[1:]])
            action = torch.cat([self._to_device(first.action), action[1:]])
        return frame, action

    def _compare(self, replay: Replay) -> dict[str, float]:
        config = self._config
        length = INPUT_FRAMES + config.simulated_rollout_length
        query = self._query(config.wm_eval_batch_size, length, newest=True, part="held_out")
        try:
            batches = [self._on_device(replay.sequences(query)) for _ in range(config.wm_eval_num_batches)]
        except NothingToDraw:
            return {"world/held_out_windows": 0.0}
        metrics, stretches = compare(self._world, batches, config.wm_eval_rollout_ratios, _FILMED)
        self._shown = {"world/comparison": stretches}
        return metrics

    def _query(self, batch_size: int, num_frames: int, *, newest: bool = False, **choices: Any) -> SequenceQuery:
        """Returns what asks for this rank's share of windows of so many frames, of all epochs or the newest one."""
        return SequenceQuery(
            batch_size=batch_size // self._context.num_ranks,
            length=num_frames - 1,
            turns=(self._epochs[-1], _FAR) if newest else None,
            epochs=tuple(self._epochs),
            held_out=_HELD_OUT,
            **choices,
        )

    def _on_device(self, windows: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        return self._to_device(windows.observation), self._to_device(windows.action), self._to_device(windows.reward)

    def _seen(self, state: WorldState) -> Tensor:
        """Returns what the policy sees of a state of the world: the last four frames, or one."""
        env, stack = self._context.env, state["stack"]
        frames: Tensor = stack if env.num_stack > 1 else stack[:, -1]
        return frames.reshape(len(frames), *env.policy_observation.shape)

    def _to_device(self, array: Array) -> Tensor:
        with self._context.timed("copy"):
            return to_device(array, self._device)

    def _cuda_state(self) -> Array | None:
        return torch.cuda.get_rng_state(self._device).numpy() if self._device.type == "cuda" else None
