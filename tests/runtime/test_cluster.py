"""What is refused before a cluster starts."""

from pathlib import Path

import pytest

from rlsys.errors import ConfigError
from rlsys.runtime import cluster


def test_full_shared_memory_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_LEAST_SHARED_BYTES", 2**62)
    with pytest.raises(ConfigError, match=r"MiB free; a run needs at least .* --shm-size"):
        cluster.check_shared_memory(tmp_path)


def test_enough_shared_memory_and_machines_without_it_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_LEAST_SHARED_BYTES", 1)
    cluster.check_shared_memory(tmp_path)
    cluster.check_shared_memory(tmp_path / "nowhere")
