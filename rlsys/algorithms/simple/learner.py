"""SimPLe's learner: it goes through the phases of `phases.py`, one unit a step.

Kaiser et al. 2020, algorithm 1, https://arxiv.org/abs/1903.00374.

Shape legend: B rollouts.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.ppo.learner import learned_from
from rlsys.algorithms.ppo.updates import PolicyUpdates
from rlsys.algorithms.simple.comparison import compare
from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.networks import INPUT_FRAMES
from rlsys.algorithms.simple.phases import Phase, make_phases
from rlsys.algorithms.simple.simulated_experience import simulate
from rlsys.algorithms.simple.world import SimpleWorld
from rlsys.algorithms.simple.world_model_updates import WorldModelUpdates
from rlsys.api import Learner, LearnerContext, Replay, Saved, WorldState
from rlsys.nets.transfer import to_device
from rlsys.replay.archive import EpisodeArchive, Windows
from rlsys.types import Array, ModelComparison

_FILMED = 4
"""Stretches of held-out episodes that a film of a comparison shows."""


class SimpleLearner(Learner):
    """One rank's archive, world model and policy; each rank has the data of its own workers."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: SimpleConfig = context.config
        self._context = context
        self._device = torch.device(context.device)
        self._archive = EpisodeArchive(context.env.observation, context.env.action)
        self._world_updates = WorldModelUpdates(self._config.world_model, context)
        self._policy_updates = PolicyUpdates(self._config.ppo, context, "simple.ppo")
        model = self._world_updates.model
        self._world = SimpleWorld(
            model.network, model.forward, model.precision, context.env, self._config.intrinsic_reward_scale
        )
        self._unroll_length = context.unroll_length or self._config.real_unroll_length
        self._phases = make_phases(self._config, context.batch_size * context.num_ranks * self._unroll_length)
        self._phase, self._done, self._turns, self._steps = 0, 0, 1, 0
        self._films: dict[str, Sequence[ModelComparison]] = {}
        self._rng = np.random.default_rng(context.draw_seed)
        torch.manual_seed(context.draw_seed)  # dropout, bits and actions in the simulated environment
        source = self._config.load_world_from
        if source is not None and not context.is_resumed:
            self._world_updates.load_world(context.read_world(source.reveal("simple.load_world_from")))

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one unit of the present phase.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those before.
        """
        phase = self._phases[self._phase]
        match phase.kind:
            case "collect":
                metrics = self._collect(replay)
            case "model":
                metrics = self._train_model()
            case "policy":
                metrics = self._train_policy(phase.epoch)
            case "compare":
                metrics = self._compare()
        self._steps += 1
        self._advance(phase)
        return {**metrics, "simple/epoch": float(phase.epoch), "simple/phase": float(self._phase)}

    def turns(self) -> int:
        """Returns how many turns of collecting it has begun."""
        return self._turns

    def steps_left(self) -> int:
        """Returns the units of this phase and all later ones that are not done."""
        return sum(phase.units for phase in self._phases[self._phase :]) - self._done

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

    def films(self) -> Mapping[str, Sequence[ModelComparison]]:
        """Returns the newest comparison of the model with held-out episodes."""
        films, self._films = self._films, {}
        return films

    def save(self) -> Saved:
        """Returns everything, the archive too; the world model's weights apart."""
        world, training = self._world_updates.save()
        return {
            "world": world,
            "training": training,
            "policy": self._policy_updates.save(),
            "archive": self._archive.save(),
            "progress": {"phase": self._phase, "done": self._done, "turns": self._turns, "steps": self._steps},
            "rng": self._rng.bit_generator.state,
            "torch_rng": torch.random.get_rng_state().numpy(),
            "cuda_rng": self._cuda_state(),
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`: in the phase, and at the unit of it, where that was."""
        self._world_updates.load(saved["world"], saved["training"])
        self._policy_updates.load(saved["policy"])
        self._archive.load(saved["archive"])
        for name, value in saved["progress"].items():
            setattr(self, f"_{name}", value)
        self._rng.bit_generator.state = saved["rng"]
        torch.random.set_rng_state(torch.from_numpy(saved["torch_rng"].copy()))
        if self._device.type == "cuda" and saved["cuda_rng"] is not None:
            torch.cuda.set_rng_state(torch.from_numpy(saved["cuda_rng"].copy()), self._device)

    def _advance(self, phase: Phase) -> None:
        self._done += 1
        if self._done == phase.units:
            if phase.kind == "collect":
                self._archive.close_epoch()
            self._phase, self._done = self._phase + 1, 0
        if self._phase < len(self._phases) and self._phases[self._phase].kind == "collect":
            self._turns += 1

    def _collect(self, replay: Replay) -> dict[str, float]:
        """Takes in a turn's unrolls, and learns a little from them, if it may."""
        batch = replay.sample(self._context.batch_size, self._unroll_length + 1)
        metrics: dict[str, float] = {}
        if self._config.learn_from_real:
            metrics = self._policy_updates.learn(
                self._policy_updates.experience(batch, self._to_device), self._config.ppo.learning_rate
            )
            self._policy_updates.actor_critic.check_finite(metrics, learned_from(batch, self._context.env), self._steps)
        self._archive.add(batch)
        return {f"real/{name.replace('/', '_')}": value for name, value in metrics.items()} | {
            "real/mean_reward": float(batch.reward.mean()),
            "archive/rows": float(len(self._archive)),
        }

    def _train_model(self) -> dict[str, float]:
        model = self._config.world_model
        size = model.batch_size // self._context.num_ranks
        frame, action, reward = self._on_device(self._archive.draw(self._rng, size, INPUT_FRAMES + model.target_frames))
        *_, height, width = frame.shape
        metrics = self._world_updates.step(frame.reshape(*action.shape, -1, height, width), action, reward)
        self._world_updates.model.check_finite(metrics, {}, self._steps)
        return metrics

    def _train_policy(self, epoch: int) -> dict[str, float]:
        config = self._config
        history = self._starts(config.simulated_batch_size // self._context.num_ranks)
        experience = simulate(
            self._world, self._policy_updates, history, config.simulated_rollout_length, epoch + 1, self._seen
        )
        metrics = self._policy_updates.learn(experience, config.ppo.learning_rate, epoch + 1)
        self._policy_updates.actor_critic.check_finite(metrics, {}, self._steps)
        return metrics | {"simulation/mean_reward": float(experience.reward.mean())}

    def _starts(self, size: int) -> tuple[Tensor, Tensor]:
        """Returns history of the newest epoch for each rollout: frames `[B, 4, *frame]`, actions `[B, 3]`."""
        config, archive, newest = self._config, self._archive, self._archive.newest_epoch
        first = archive.first(INPUT_FRAMES, epoch=newest)
        frame, action = (np.repeat(column, size, axis=0) for column in (first.frame, first.action))
        if config.simulation_random_starts:
            drawn = archive.draw(self._rng, size, INPUT_FRAMES, by_episode=True, epoch=newest)
            kept = 1 if config.simulation_flip_first_random_for_beginning else 0
            frame[kept:], action[kept:] = drawn.frame[kept:], drawn.action[kept:]
        return self._to_device(frame), self._to_device(action[:, :-1])

    def _compare(self) -> dict[str, float]:
        config, archive = self._config, self._archive
        length = INPUT_FRAMES + config.simulated_rollout_length
        newest = archive.newest_epoch
        has_held_out = len(archive.starts(length, held_out=True, epoch=newest)) > 0
        if not has_held_out:
            return {"world/held_out_windows": 0.0}
        batches = [
            self._on_device(archive.draw(self._rng, config.wm_eval_batch_size, length, held_out=True, epoch=newest))
            for _ in range(config.wm_eval_num_batches)
        ]
        metrics, stretches = compare(self._world, batches, config.wm_eval_rollout_ratios, _FILMED)
        self._films = {"world/comparison": stretches}
        return metrics

    def _on_device(self, windows: Windows) -> tuple[Tensor, Tensor, Tensor]:
        return self._to_device(windows.frame), self._to_device(windows.action), self._to_device(windows.reward)

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
