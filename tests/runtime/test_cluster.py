"""What is refused before a cluster starts."""

import socket
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


@pytest.mark.parametrize("address", ["nonsense", "ray://10.0.0.5:10001", "10.0.0.5:", "10.0.0.5:99999", ":6379"])
def test_an_address_that_is_none_is_refused_with_its_form(address: str) -> None:
    with pytest.raises(ConfigError, match="it must be auto, for the cluster of this machine, or host:port"):
        cluster.check_address(address)


def test_an_address_at_which_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    with pytest.raises(ConfigError, match=f"nobody listens at runtime.address = 127.0.0.1:{free}"):
        cluster.check_address(f"127.0.0.1:{free}")
    with pytest.raises(ConfigError, match=r"nobody listens at runtime\.address = no\.such\.host"):
        cluster.check_address("no.such.host.invalid:6379")
    with socket.create_server(("127.0.0.1", 0)) as server:
        cluster.check_address(f"127.0.0.1:{server.getsockname()[1]}")


def test_what_takes_long_says_what_it_waits_for(capsys: pytest.CaptureFixture) -> None:
    import time

    with cluster._says_after(0.05, "still waiting"):
        time.sleep(0.3)
    with cluster._says_after(5.0, "never said"):
        pass
    assert capsys.readouterr().err == "still waiting\n"
