"""Settles what an experiment leaves open, and refuses what cannot work, before any worker starts."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlsys import registry
from rlsys.api import Algorithm, QueueSpec, Segments, TableSpec
from rlsys.config import ENVIRONMENTS_PER_WORKER, Experiment, Loaded, RuntimeConfig
from rlsys.envs import make
from rlsys.errors import ConfigError, RlsysError
from rlsys.replay.limiter import RateLimiter
from rlsys.runs.dataset import check_dataset
from rlsys.runs.grid import changed_env, check_env
from rlsys.runs.spec import RunSpec


def resolve(loaded: Loaded, algorithm: Algorithm, *, num_cpus: int, num_gpus: int | None) -> RunSpec:
    """Settles every "auto" and refuses what cannot work, before any worker starts.

    Args:
      loaded: the merged experiment.
      algorithm: the record it names.
      num_cpus: CPU cores of the cluster.
      num_gpus: its GPUs; None while that is not known.

    Returns:
      The spec, its folder still to be made.

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
    for name in ("inference_device", "reanalyse_device"):
        if getattr(runtime, name) == "auto":
            settled[name] = "cuda" if num_gpus else "cpu"
    if runtime.learner_threads == "auto":
        settled["learner_threads"] = max(1, min(num_cpus, os.cpu_count() or 1) // runtime.learners)
    runtime = runtime.model_copy(update=settled)
    if num_gpus is not None:
        _check_gpus(runtime, num_gpus)
    env_spec = make.env_spec(experiment.env)
    registry.check_spaces(algorithm, env_spec)
    spec = RunSpec(
        name=loaded.name,
        algorithm=algorithm,
        section=experiment.section,
        env=experiment.env,
        runtime=runtime,
        run=experiment.run,
        env_spec=env_spec,
        folder=Path(),
    )
    shards = runtime.replay_shards
    if spec.turns is not None and isinstance(spec.store, QueueSpec):
        shards = runtime.learners  # a batch comes from one shard
    elif isinstance(spec.store, TableSpec) and spec.store.keeps_episodes:
        shards = min(shards, spec.num_rollout_workers)  # all that a worker collects goes to one
    spec = replace(spec, runtime=runtime.model_copy(update={"replay_shards": shards}))
    check(spec)
    return spec


def _share_environments(experiment: Experiment, algorithm: Algorithm, num_cpus: int) -> dict[str, Any]:
    """Returns how many rollout workers there are, and how many environments each has.

    Where the algorithm says how many environments there are, as a batch has rows of all of them, what is learned must
    not depend on the number of workers: there are as many as can share the environments equally.
    """
    runtime = experiment.runtime
    workers = runtime.rollout_workers
    if workers == "auto":
        workers = max(1, num_cpus - runtime.reanalyse_workers)
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


def check(spec: RunSpec) -> None:
    """Refuses a settled spec that cannot work.

    Raises:
      ConfigError: a combination that cannot work.
    """
    runtime, store = spec.runtime, spec.store
    if runtime.replay_shards > store.max_size:
        raise ConfigError(
            f"runtime.replay_shards = {runtime.replay_shards} is more than the replay table's {store.max_size} items. "
            "Lower replay_shards or enlarge the table."
        )
    if isinstance(store, QueueSpec):
        _check_queue(spec)
    elif isinstance(spec.cut, Segments):
        from rlsys.replay.ring import check_budget  # with numba, which rollout workers do without

        largest_insert = spec.cut.length + spec.cut.overlap
        RateLimiter(store).check(store.batch_size, largest_insert * runtime.replay_shards)
        check_budget(store, spec.stored_env, spec.cut, runtime.replay_shards)
    _check_refreshing(spec)
    _check_evaluations(spec)
    _check_tasks(spec)
    spec.algorithm.check(spec.section, spec.env_spec, spec.num_environments, runtime.learners)


def _check_refreshing(spec: RunSpec) -> None:
    """Who refreshes rows has something to do, and something to do it with."""
    runtime, share, name = spec.runtime, spec.refreshed_share, f"{spec.algorithm.name}.{spec.algorithm.refreshes}"
    if runtime.reanalyse_workers and not spec.algorithm.refreshes:
        raise ConfigError(
            f"runtime.reanalyse_workers = {runtime.reanalyse_workers}; {spec.algorithm.name} cannot refresh what "
            "replay keeps. Set runtime.reanalyse_workers=0."
        )
    if runtime.reanalyse_workers and not share:
        raise ConfigError(
            f"runtime.reanalyse_workers = {runtime.reanalyse_workers} with {name} = 0; they would have nothing to do. "
            f"Set {name}, or runtime.reanalyse_workers=0."
        )
    if share and spec.num_inference_workers and not runtime.reanalyse_workers:
        raise ConfigError(
            f"{name} = {share:g} with runtime.inference_workers = {spec.num_inference_workers}; rollout workers that "
            "do not decide themselves cannot refresh rows. Set runtime.reanalyse_workers, or inference_workers=0."
        )
    check_dataset(spec)
    if share == 1.0 and spec.run.dataset is None:
        raise ConfigError(
            f"{name} = 1 without a data set; nothing would ever be collected. Lower it, or name one in run.dataset."
        )


def _check_tasks(spec: RunSpec) -> None:
    """Each task has an environment somewhere."""
    wanted = 1 if spec.env.task is not None else len(spec.env_spec.tasks)
    if spec.num_environments < wanted:
        name = spec.algorithm.environments
        more = f"{spec.algorithm.name}.{name}" if name else "runtime.environments_per_worker or runtime.rollout_workers"
        raise ConfigError(
            f"env.tasks has {wanted}, and the run {spec.num_environments} environments; each task needs one. Raise "
            f"{more}."
        )


def _check_gpus(runtime: RuntimeConfig, num_gpus: int) -> None:
    """Refuses workers that would wait for a GPU for ever."""
    wanted = []
    if runtime.learner_device == "cuda":
        wanted.append(("learners", runtime.learners, runtime.learner_gpus))
    if runtime.inference_device == "cuda" and runtime.inference_workers:
        assert isinstance(runtime.inference_workers, int)
        wanted.append(("inference_workers", runtime.inference_workers, runtime.inference_gpus))
    if runtime.reanalyse_device == "cuda" and runtime.reanalyse_workers:
        wanted.append(("reanalyse_workers", runtime.reanalyse_workers, runtime.reanalyse_gpus))
    total = sum(count * share for _, count, share in wanted)
    if total > num_gpus:
        workers = " and ".join(f"runtime.{name} = {count} with {share:g} each" for name, count, share in wanted)
        raise ConfigError(
            f"the run wants {total:g} GPUs ({workers}), but the cluster has {num_gpus or 'none'}. Lower these, set "
            "runtime.learner_device=cpu, choose another profile, or add machines."
        )


def _check_evaluations(spec: RunSpec) -> None:
    """Evaluations may differ in what happens, not in what is seen and done."""
    if spec.run.evaluation_temperatures and spec.run.evaluation_explore:
        raise ConfigError(
            "run.evaluation_temperatures with run.evaluation_explore = True; exploring has a temperature of its own. "
            "Leave one of them out."
        )
    try:
        _ = spec.evaluation_grid
    except RlsysError as error:
        raise ConfigError(f"run.evaluation_temperatures or run.evaluation_noops: {error}") from None
    others = {"run.evaluation_env": spec.run.evaluation_env}
    others |= {f"run.final_evaluation '{final.name}'": final.env for final in spec.run.final_evaluation}
    for where, changes in others.items():
        if not changes:
            continue
        check_env(spec.env, changed_env(spec.env, changes, where), spec.env_spec, where)


def _check_turns(spec: RunSpec) -> None:
    """Collecting and learning take turns: each rank learns from what its own workers have collected."""
    name, runtime = spec.algorithm.name, spec.runtime
    if runtime.replay_shards != runtime.learners or spec.num_rollout_workers % runtime.learners:
        raise ConfigError(
            f"runtime.replay_shards = {runtime.replay_shards} with {runtime.learners} learners and "
            f"{spec.num_rollout_workers} rollout workers; {name} needs one shard for each learner, and the same number "
            "of workers for each. Change runtime.replay_shards or runtime.rollout_workers."
        )


def _check_queue(spec: RunSpec) -> None:
    """Each learner rank needs shards of its own: the unrolls of an environment must come to one of them, in order."""
    if spec.runtime.replay_bytes is not None:
        raise ConfigError(
            f"runtime.replay_bytes = {spec.runtime.replay_bytes:,}, but {spec.algorithm.name} has a queue, which holds "
            "what is waited for and no more. Leave it out."
        )
    shards, ranks, workers = spec.runtime.replay_shards, spec.runtime.learners, spec.num_rollout_workers
    if shards % ranks or workers < shards:
        raise ConfigError(
            f"runtime.replay_shards = {shards} with {ranks} learners and {workers} rollout workers; a queue needs a "
            "multiple of the learners, and a worker for each shard. Change runtime.replay_shards."
        )
    if spec.turns is not None:
        _check_turns(spec)
    from rlsys.replay.stores import make_store  # with numba, which rollout workers do without

    make_store(spec.store, spec.stored_env, spec.cut)
