"""Joins a Ray cluster, or starts one on this machine."""

import contextlib
import logging
import os
import re
import shlex
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import _raylet
from ray._private import ray_constants
from ray._private import worker as ray_worker

from rlsys.config import RuntimeConfig
from rlsys.errors import ConfigError
from rlsys.process import ENVIRONMENT
from rlsys.redaction import redact
from rlsys.runtime.cluster.session_folder import private_files, session_folder
from rlsys.signals import outliving_hangup

_CLUSTER_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # Ray's default of 15 starves workers on a shared machine
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # whoever is asked for something that is given up may fail in peace
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a worker without a GPU does not see one
}

SHARED_MEMORY = Path("/dev/shm")
"""Where Ray keeps objects on Linux: segments, batches and weights on their way."""
_LEAST_SHARED_BYTES = 256 * 2**20
_PROBE_S = 5.0
_PATIENCE_S = 20.0
_ACTOR_PATIENCE_S = 120.0
_TOKEN_ADVICE = "A cluster with tokens answers only to who has its ~/.ray/auth_token"


def connect(runtime: RuntimeConfig) -> tuple[int, int]:
    """Joins the cluster at `runtime.address`, or starts one on this machine; nothing if this process has done so.

    Returns:
      Its CPU cores and its GPUs.

    Raises:
      ConfigError: no cluster answers at the address, its versions are others, or this machine has no shared memory for
        one.
    """
    if not ray.is_initialized():
        _start(runtime)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1)), int(resources.get("GPU", 0))


class _Smallest:
    """The smallest actor."""

    def pid(self) -> int:
        return os.getpid()


def try_actor(runtime: RuntimeConfig) -> int:
    """Runs one actor, in the cluster that this process has joined or else in one of its own; returns its process id.

    Raises:
      ConfigError: as `connect`.
      RayError: no actor runs there.
    """
    was_connected = ray.is_initialized()
    connect(runtime)
    try:
        actor: Any = ray.remote(_Smallest).options(num_cpus=0).remote()
        return int(ray.get(actor.pid.remote(), timeout=_ACTOR_PATIENCE_S))
    finally:
        if not was_connected:
            ray.shutdown()


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
    for name, value in {**_CLUSTER_ENVIRONMENT, **ENVIRONMENT}.items():
        os.environ.setdefault(name, value)
    if runtime.address is None:
        check_shared_memory(SHARED_MEMORY)
        os.environ.pop("RAY_ADDRESS", None)  # "local" means a cluster of our own, whatever the shell points to
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # listen on loopback, as Ray does on macOS
        ray_constants.ENABLE_RAY_CLUSTER = False  # the same, for this process
    elif runtime.address != "auto":
        check_address(runtime.address)
        ray_constants.NUM_REDIS_GET_RETRIES = 1  # each takes half a minute, and Ray would make twenty
    waits_for = f"the Ray cluster at {runtime.address}. {_TOKEN_ADVICE}"
    if runtime.address is None:
        waits_for = "Ray to start on this machine"
    ray_worker.print_to_stdstream = _leave_to_the_log
    _hide_secrets_of_command()
    try:
        with _says_after(_PATIENCE_S, f"still waiting for {waits_for}."), outliving_hangup():
            _init(runtime)
    except Exception as error:  # noqa: BLE001 - Ray raises bare ones, too, where its processes do not come up
        if str(error).startswith("Version mismatch"):
            raise _other_versions(runtime, str(error)) from None
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else "no reason given"
        if runtime.address is None:
            raise ConfigError(
                f"Ray did not start on this machine ({type(error).__name__}: {reason}). It gives its processes half a "
                "minute, which a machine that is busy, or short of memory, does not keep: try again when less is going "
                "on, or use --inline."
            ) from None
        raise ConfigError(
            f"cannot reach a Ray cluster at runtime.address = {runtime.address} ({type(error).__name__}: "
            f"{reason}). Start one with 'ray up' or 'ray start --head', or leave the address out to run on this "
            f"machine. {_TOKEN_ADVICE}."
        ) from None


def check_address(address: str) -> None:
    """Refuses an address at which no Ray cluster can be, without Ray's minutes of waiting.

    Raises:
      ConfigError: it is not of the form host:port, or nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if address.startswith("ray://") or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigError(
            f"runtime.address = {address}; it must be auto, for the cluster of this machine, or host:port, for example "
            "10.0.0.5:6379. The driver runs within the cluster: Ray Client (ray://) is not used."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_S).close()
    except OSError as error:
        raise ConfigError(
            f"nobody listens at runtime.address = {address} ({error.strerror or error}). Give the address that "
            "'ray start --head' printed, look whether a firewall is between, or run on the cluster's head with "
            "--address auto."
        ) from None


def _other_versions(runtime: RuntimeConfig, text: str) -> ConfigError:
    """Returns in one line what Ray says in six, first of the cluster and then of this process."""
    there_ray, there_python, here_ray, here_python = re.findall(r"(?:Ray|Python): (\S+)", text)
    return ConfigError(
        f"the cluster at runtime.address = {runtime.address} runs Ray {there_ray} on Python {there_python}, and this "
        f"is Ray {here_ray} on Python {here_python} ({sys.prefix}); every machine needs the same. Use the environment "
        "that the cluster was started from, or start the cluster again from this one."
    )


@contextlib.contextmanager
def _says_after(seconds: float, text: str) -> Iterator[None]:
    """Says what is waited for if it takes long."""
    timer = threading.Timer(seconds, lambda: sys.stderr.write(f"{text}\n"))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave_to_the_log(data: Any, ignore_prefix: bool) -> None:
    """Takes what Ray's own processes say to drivers, which Ray would print across the live view; its log has it."""


def _hide_secrets_of_command() -> None:
    """Takes secrets of URIs out of this process's command line, which Ray writes down and all users can list."""
    command = shlex.join(sys.orig_argv)
    if redact(command) != command:
        _raylet.setproctitle(redact(command))  # type: ignore[attr-defined]


def _init(runtime: RuntimeConfig) -> None:
    """Joins or starts one; workers of our own have this process's variables, and no runtime_env: each starts twice."""
    is_own = runtime.address is None
    with private_files():
        ray.init(
            address=runtime.address or "local",
            namespace="rlsys",
            include_dashboard=False if is_own else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=None if is_own else {"env_vars": ENVIRONMENT},
            _temp_dir=str(session_folder()) if is_own else None,
        )
