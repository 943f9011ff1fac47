"""What a run is made of, fully resolved: the one object from which every worker, anywhere, is built."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from rlsys.api import Algorithm, PolicyContext, SegmentSpec, TableSpec
from rlsys.config import ENVIRONMENTS_PER_WORKER, EnvConfig, Experiment, Loaded, RunConfig, RuntimeConfig
from rlsys.envs import make
from rlsys.errors import ConfigError, RlsysError, did_you_mean
from rlsys.replay.limiter import RateLimiter
from rlsys.runtime.checkpoints.storage import checkpoints_of
from rlsys.runtime.grid import Cell, cells
from rlsys.types import EnvSpec


@dataclass(frozen=True)
class Refill:
    """What a resumed run does not take over from its checkpoint, because it would not fit.

    Attributes:
      step: of the checkpoint whose replay stays where it is.
      begins_episodes: whether unfinished segments stay there, too, and with them the episodes that they are of.
    """

    step: int
    begins_episodes: bool


@dataclass(frozen=True)
class Plan:
    """An experiment without open questions; pickles by reference and is small.

    Attributes:
      name: the experiment's name.
      algorithm: the record of functions.
      section: the algorithm's configuration.
      env, runtime, run: the other sections; `runtime.rollout_workers` and the like hold numbers, never "auto".
      env_spec: of one environment.
      folder: the run's folder, absolute.
      refill: of a resumed run whose replay has another form now; None takes over all.
      segments, table: the algorithm's choices for this environment.
    """

    name: str
    algorithm: Algorithm
    section: Any
    env: EnvConfig
    runtime: RuntimeConfig
    run: RunConfig
    env_spec: EnvSpec
    folder: Path
    refill: Refill | None = None
    segments: SegmentSpec = field(init=False)
    table: TableSpec = field(init=False)

    def __post_init__(self) -> None:
        segments = self.algorithm.segments(self.section, self.env_spec).shared_out(self.num_environments)
        object.__setattr__(self, "segments", segments)
        table = self.algorithm.table(self.section, self.env_spec)
        if self.segments.on_policy:
            turn = self.segments.on_policy * self.num_environments
            table = replace(table, max_size=turn, batch_size=turn)
        if self.runtime.replay_bytes is not None:
            table = replace(table, max_bytes=self.runtime.replay_bytes)
        object.__setattr__(self, "table", table)

    @property
    def num_rollout_workers(self) -> int:
        """Rollout workers, resolved."""
        assert isinstance(self.runtime.rollout_workers, int)
        return self.runtime.rollout_workers

    @property
    def num_inference_workers(self) -> int:
        """Inference workers, resolved; 0 where rollout workers decide themselves."""
        assert isinstance(self.runtime.inference_workers, int)
        return self.runtime.inference_workers

    @property
    def learner_threads(self) -> int:
        """Torch threads of a learner, resolved."""
        assert isinstance(self.runtime.learner_threads, int)
        return self.runtime.learner_threads

    @property
    def replay_size(self) -> int:
        """Items that all shards together hold at most."""
        return self.table.max_size * (self.runtime.replay_shards if self.segments.unroll else 1)

    @property
    def num_environments(self) -> int:
        """Environments of all rollout workers."""
        return self.num_rollout_workers * self.environments_per_worker

    @property
    def environments_per_worker(self) -> int:
        """Environments of one rollout worker, resolved."""
        assert isinstance(self.runtime.environments_per_worker, int)
        return self.runtime.environments_per_worker

    @property
    def checkpoints(self) -> str:
        """Where the run's checkpoints lie: a folder, or a URI."""
        return checkpoints_of(self.run, self.folder)

    @property
    def stored_env(self) -> EnvSpec:
        """The environment as replay knows it."""
        return self.segments.stored_env(self.env_spec)

    @property
    def evaluation_env(self) -> EnvConfig:
        """The environment of evaluations while the run trains."""
        return changed_env(self.env, self.run.evaluation_env, "run.evaluation_env")

    @property
    def evaluation_grid(self) -> list[Cell]:
        """What evaluations play while the run trains; the first cell counts.

        Raises:
          RlsysError: there is no such grid here.
        """
        return cells(self.section, self.evaluation_env, self.run.evaluation_temperatures, self.run.evaluation_noops)

    @property
    def replay_form(self) -> Mapping[str, Any]:
        """What of replay must be the same for it to be taken over from a checkpoint, as JSON data.

        That is what segments consist of, and how many rows a table has memory for; a queue takes over whatever waited.
        """
        table = self.table
        size = [] if self.segments.unroll else [table.max_size, table.max_bytes]
        return {"segments": repr(self.segments), "size": size}

    def refills(self, step: int | None) -> bool:
        """Tells whether the replay of the checkpoint of this step is not taken over."""
        return self.refill is not None and self.refill.step == step

    def seeds(self, purpose: str, *path: int, count: int = 1) -> list[int]:
        """Returns `count` seeds that depend on the run's seed, a purpose and a path such as (worker, incarnation)."""
        key = [self.run.seed, *purpose.encode(), *path]
        return [int(seed) for seed in np.random.SeedSequence(key).generate_state(count, np.uint32)]

    def policy_context(self, worker: int, incarnation: int) -> PolicyContext:
        """Returns what the policy of one rollout worker is built from."""
        size = self.environments_per_worker
        seed = self.seeds("policy", worker, incarnation)[0]
        return PolicyContext(self.section, self.env_spec, seed, worker * size, size)


def changed_env(env: EnvConfig, changes: Mapping[str, Any], where: str) -> EnvConfig:
    """Returns the environment with some fields changed.

    Raises:
      ConfigError: there is no such field, or it cannot have that value; `where` names the setting.
    """
    try:
        changed = EnvConfig.model_validate({**env.model_dump(), **changes})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "values"
        raise ConfigError(
            f"{where}: {field}: {first['msg']}.{did_you_mean(field, EnvConfig.model_fields)} Only fields of the env "
            "section can differ there."
        ) from None
    if changed.clip_rewards != env.clip_rewards:
        raise ConfigError(
            f"{where}: clip_rewards = {changed.clip_rewards}; evaluations count raw rewards, and tell a policy of them "
            "as it learned from them. Leave it out."
        )
    return changed


def resolve(loaded: Loaded, algorithm: Algorithm, *, num_cpus: int, num_gpus: int | None) -> Plan:
    """Settles every "auto" and refuses what cannot work, before any worker starts.

    Args:
      loaded: the merged experiment.
      algorithm: the record it names.
      num_cpus: CPU cores of the cluster.
      num_gpus: its GPUs; None while that is not known.

    Returns:
      The plan, its folder still to be made.

    Raises:
      ConfigError: a combination that cannot work.
      EnvError: the environment cannot be made.
    """
    experiment = loaded.experiment
    runtime = experiment.runtime
    settled = _share_environments(experiment, algorithm, num_cpus)
    if runtime.learner_device == "auto":
        settled["learner_device"] = "cuda" if num_gpus else "cpu"
    if runtime.inference_workers == "auto":
        settled["inference_workers"] = 1 if algorithm.is_reactive and num_gpus else 0
    elif runtime.inference_workers and not algorithm.is_reactive:
        raise ConfigError(
            f"runtime.inference_workers = {runtime.inference_workers}; {algorithm.name} decides in its rollout workers "
            "only. Set runtime.inference_workers=0."
        )
    if runtime.inference_device == "auto":
        settled["inference_device"] = "cuda" if num_gpus else "cpu"
    if runtime.learner_threads == "auto":
        settled["learner_threads"] = max(1, min(num_cpus, os.cpu_count() or 1) // runtime.learners)
    runtime = runtime.model_copy(update=settled)
    if num_gpus is not None:
        _check_gpus(runtime, num_gpus)
    plan = Plan(
        name=loaded.name,
        algorithm=algorithm,
        section=experiment.section,
        env=experiment.env,
        runtime=runtime,
        run=experiment.run,
        env_spec=make.spec(experiment.env),
        folder=Path(),
    )
    if plan.segments.on_policy:  # a batch comes from one shard
        plan = replace(plan, runtime=runtime.model_copy(update={"replay_shards": runtime.learners}))
    check(plan)
    return plan


def _share_environments(experiment: Experiment, algorithm: Algorithm, num_cpus: int) -> dict[str, Any]:
    """Returns how many rollout workers there are, and how many environments each has.

    Where the algorithm says how many environments there are, as a batch has rows of all of them, what is learned must
    not depend on the number of workers: there are as many as can share the environments equally.
    """
    runtime = experiment.runtime
    workers = max(1, num_cpus) if runtime.rollout_workers == "auto" else runtime.rollout_workers
    if not algorithm.environments:
        auto = runtime.environments_per_worker == "auto"
        size = ENVIRONMENTS_PER_WORKER if auto else runtime.environments_per_worker
        return {"rollout_workers": workers, "environments_per_worker": size}
    total, where = getattr(experiment.section, algorithm.environments), f"{algorithm.name}.{algorithm.environments}"
    if runtime.environments_per_worker != "auto":
        raise ConfigError(
            f"runtime.environments_per_worker = {runtime.environments_per_worker} with {where} = {total}, which all "
            f"rollout workers share equally. Leave it out, or set {where}."
        )
    if total % runtime.learners:
        raise ConfigError(
            f"{where} = {total} cannot be divided among runtime.learners = {runtime.learners}; each rank learns from "
            "an equal share. Change either."
        )
    if runtime.rollout_workers == "auto":
        workers = max(workers, runtime.learners)
    fitting = [count for count in range(1, min(workers, total) + 1) if total % count == 0 == count % runtime.learners]
    if not fitting:
        raise ConfigError(
            f"runtime.rollout_workers = {workers} with runtime.learners = {runtime.learners}; {algorithm.name} needs "
            "the same number of workers for each. Raise rollout_workers."
        )
    return {"rollout_workers": fitting[-1], "environments_per_worker": total // fitting[-1]}


def check(plan: Plan) -> None:
    """Refuses a settled plan that cannot work.

    Raises:
      ConfigError: a combination that cannot work.
    """
    runtime, table = plan.runtime, plan.table
    if runtime.replay_shards > table.max_size:
        raise ConfigError(
            f"runtime.replay_shards = {runtime.replay_shards} is more than the replay table's {table.max_size} items. "
            "Lower replay_shards or enlarge the table."
        )
    if plan.segments.unroll:
        _check_queue(plan)
    else:
        from rlsys.replay.table import check_budget  # with numba, which rollout workers do without

        largest_insert = plan.segments.length + plan.segments.overlap
        RateLimiter(table).check(table.batch_size, largest_insert * runtime.replay_shards)
        check_budget(table, plan.stored_env, plan.segments, runtime.replay_shards)
    _check_evaluations(plan)
    plan.algorithm.check(plan.section, plan.env_spec, plan.num_environments, runtime.learners)


def _check_gpus(runtime: RuntimeConfig, num_gpus: int) -> None:
    """Refuses workers that would wait for a GPU for ever."""
    wanted = []
    if runtime.learner_device == "cuda":
        wanted.append(("learners", runtime.learners, runtime.learner_gpus))
    if runtime.inference_device == "cuda" and runtime.inference_workers:
        assert isinstance(runtime.inference_workers, int)
        wanted.append(("inference_workers", runtime.inference_workers, runtime.inference_gpus))
    total = sum(count * share for _, count, share in wanted)
    if total > num_gpus:
        workers = " and ".join(f"runtime.{name} = {count} with {share:g} each" for name, count, share in wanted)
        raise ConfigError(
            f"the run wants {total:g} GPUs ({workers}), but the cluster has {num_gpus or 'none'}. Lower these, set "
            "runtime.learner_device=cpu, choose another profile, or add machines."
        )


def _check_evaluations(plan: Plan) -> None:
    """Evaluations may differ in what happens, not in what is seen and done."""
    if plan.run.evaluation_temperatures and plan.run.evaluation_explore:
        raise ConfigError(
            "run.evaluation_temperatures with run.evaluation_explore = True; exploring has a temperature of its own. "
            "Leave one of them out."
        )
    try:
        _ = plan.evaluation_grid
    except RlsysError as error:
        raise ConfigError(f"run.evaluation_temperatures or run.evaluation_noops: {error}") from None
    others = {"run.evaluation_env": plan.run.evaluation_env}
    others |= {f"run.final_evaluation '{final.name}'": final.env for final in plan.run.final_evaluation}
    for where, changes in others.items():
        if not changes:
            continue
        here, there = plan.env_spec, make.spec(changed_env(plan.env, changes, where))
        if (there.policy_observation, there.num_actions) != (here.policy_observation, here.num_actions):
            raise ConfigError(
                f"{where} gives observations {there.policy_observation.shape} and {there.num_actions} actions; the run "
                f"has {here.policy_observation.shape} and {here.num_actions}. Policies cannot move between them: leave "
                "out what changes that."
            )


def _check_turns(plan: Plan) -> None:
    """Collecting and learning take turns: each rank learns from what its own workers have collected."""
    name, runtime = plan.algorithm.name, plan.runtime
    if runtime.replay_shards != runtime.learners or plan.num_rollout_workers % runtime.learners:
        raise ConfigError(
            f"runtime.replay_shards = {runtime.replay_shards} with {runtime.learners} learners and "
            f"{plan.num_rollout_workers} rollout workers; {name} needs one shard for each learner, and the same number "
            "of workers for each. Change runtime.replay_shards or runtime.rollout_workers."
        )
    if runtime.send_weights_frequency != 1:
        raise ConfigError(
            f"runtime.send_weights_frequency = {runtime.send_weights_frequency}; {name} waits for the weights of every "
            "update. Set runtime.send_weights_frequency=1."
        )


def _check_queue(plan: Plan) -> None:
    """Each learner rank needs shards of its own: the unrolls of an environment must come to one of them, in order."""
    if plan.runtime.replay_bytes is not None:
        raise ConfigError(
            f"runtime.replay_bytes = {plan.runtime.replay_bytes:,}, but {plan.algorithm.name} has a queue, which holds "
            "what is waited for and no more. Leave it out."
        )
    shards, ranks, workers = plan.runtime.replay_shards, plan.runtime.learners, plan.num_rollout_workers
    if shards % ranks or workers < shards:
        raise ConfigError(
            f"runtime.replay_shards = {shards} with {ranks} learners and {workers} rollout workers; a queue needs a "
            "multiple of the learners, and a worker for each shard. Change runtime.replay_shards."
        )
    if plan.segments.on_policy:
        _check_turns(plan)
    from rlsys.replay.queue import UnrollQueue  # with numba, which rollout workers do without

    UnrollQueue(plan.table, plan.stored_env, plan.segments)
