"""Shared fixtures: one small Ray cluster for all tests that need one."""

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("RAY_metrics_report_interval_ms", "2000")  # tests do not wait for Ray's ten seconds
for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ.setdefault(name, "simulated")  # workers must have them when Ray starts


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster of two CPUs on this machine, started once and ended with the tests."""
    import ray

    from rlsys.config import RuntimeConfig
    from rlsys.runtime.cluster import connect

    connect(RuntimeConfig())
    yield
    ray.shutdown()
