"""Shared fixtures: a small Ray cluster and a browser for tests that need one, and runs of the checking algorithm."""

import functools
import os
import shutil
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


CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium with a profile of its own, for tests of the group "chromium": one at a time is enough."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian's package 'chromium'): nothing here can press keys in a page")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS.split(),
            viewport={"width": 1_280, "height": 860},
        )
        yield context
        context.close()


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
