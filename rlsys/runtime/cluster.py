"""Joins a Ray cluster, or starts one on this machine."""

import logging
import os
import shutil
from pathlib import Path

import ray
from ray.exceptions import RayError

from rlsys.config import RuntimeConfig
from rlsys.errors import ConfigError
from rlsys.runtime.process import ENVIRONMENT

_CLUSTER_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # Ray's default of 15 starves workers on a shared machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without a GPU does not see one
}

SHARED_MEMORY = Path("/dev/shm")
"""Where Ray keeps objects on Linux: segments, batches and weights on their way."""
_LEAST_SHARED_BYTES = 256 * 2**20


def connect(runtime: RuntimeConfig) -> tuple[int, int]:
    """Joins the cluster at `runtime.address`, or starts one on this machine; nothing if this process has done so.

    Returns:
      Its CPU cores and its GPUs.

    Raises:
      ConfigError: no cluster answers at the address, or this machine has no shared memory for one.
    """
    if not ray.is_initialized():
        _start(runtime)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1)), int(resources.get("GPU", 0))


def check_shared_memory(folder: Path) -> None:
    """Refuses a machine whose shared memory is full: Ray would move to the disk, and every batch with it.

    Raises:
      ConfigError: there is too little; without the folder, as on macOS, nothing is known and nothing is refused.
    """
    free = shutil.disk_usage(folder).free if folder.is_dir() else _LEAST_SHARED_BYTES
    if free < _LEAST_SHARED_BYTES:
        raise ConfigError(
            f"{folder} has {free // 2**20} MiB free; a run needs at least {_LEAST_SHARED_BYTES // 2**20} MiB there. "
            "Delete what other programs left there, give a container more (docker run --shm-size=8g) or use --inline."
        )


def _start(runtime: RuntimeConfig) -> None:
    for name, value in _CLUSTER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if runtime.address is None:
        check_shared_memory(SHARED_MEMORY)
        os.environ.pop("RAY_ADDRESS", None)  # "local" means a cluster of our own, whatever the shell points to
    try:
        _init(runtime)
    except (RayError, ConnectionError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"cannot reach a Ray cluster at runtime.address = {runtime.address or 'local'} "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}). "
            "Start one with 'ray up' or 'ray start --head', or leave the address out to run on this machine."
        ) from None


def _init(runtime: RuntimeConfig) -> None:
    ray.init(
        address=runtime.address or "local",
        namespace="rlsys",
        include_dashboard=False if runtime.address is None else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": ENVIRONMENT},
    )
