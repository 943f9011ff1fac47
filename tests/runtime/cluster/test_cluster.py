"""What is refused before a cluster starts, or when it is joined."""

import json
import socket
import sys
from pathlib import Path

import pytest
from support.command_line import rlsys

from rlsys.errors import ConfigError
from rlsys.runtime.cluster import cluster


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


@pytest.mark.xdist_group("ray")
def test_a_cluster_with_other_versions_is_refused_with_both_in_one_line(ray_cluster: None, tmp_path: Path) -> None:
    import ray
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray.experimental import internal_kv

    address = ray.get_runtime_context().gcs_address
    found = internal_kv._internal_kv_get(CLUSTER_METADATA_KEY, namespace=b"cluster")
    other = json.dumps(json.loads(found) | {"ray_version": "2.59.1", "python_version": "3.12.1"}).encode()
    internal_kv._internal_kv_put(CLUSTER_METADATA_KEY, other, overwrite=True, namespace=b"cluster")
    try:
        done = rlsys(tmp_path, "launch", "muzero-cartpole", "--address", address)
    finally:
        internal_kv._internal_kv_put(CLUSTER_METADATA_KEY, found, overwrite=True, namespace=b"cluster")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    here = ".".join(map(str, sys.version_info[:3]))
    assert f"at runtime.address = {address} runs Ray 2.59.1 on Python 3.12.1" in done.stderr
    assert f"this is Ray {ray.__version__} on Python {here} ({sys.prefix}); every machine needs the same" in done.stderr
    assert list(tmp_path.iterdir()) == []
