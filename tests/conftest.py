"""Shared fixtures: one small Ray cluster for all tests that need one, and runs of the checking algorithm."""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors, and as many processes as cores already
os.environ.setdefault("RAY_metrics_report_interval_ms", "2000")  # tests do not wait for Ray's ten seconds
for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    os.environ.setdefault(name, "simulated")  # workers must have them when Ray starts


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster of two CPUs on this machine, started once and ended with the tests."""
    import ray

    from rlsys.config import RuntimeConfig
    from rlsys.runtime.cluster.cluster import connect

    connect(RuntimeConfig())
    yield
    ray.shutdown()


@pytest.fixture
def make_spec(tmp_path: Path) -> Callable[..., Any]:
    """Returns a function that builds the spec of a run from overrides of its sections."""
    from support.runs import checking_spec

    return functools.partial(checking_spec, tmp_path / "run")


@pytest.fixture
def make_recorder() -> Callable[..., Any]:
    """Returns a function that builds a recorder that writes metrics.jsonl and no terminal."""
    from support.runs import recorder_of

    return recorder_of
