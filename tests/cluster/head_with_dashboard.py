"""Starts a Ray cluster that takes jobs, says where, and ends it when its standard input closes.

python tests/cluster/head_with_dashboard.py      # tests/runtime/cluster/test_submit.py does, with a pipe
"""

import contextlib
import os
import socket
import sys
import tempfile


def main() -> None:
    """Prints the cluster's address and its dashboard's."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        # Its own folder, in which "auto" means this cluster and nobody else's is touched; short, as sockets need it.
        os.environ["RAY_TMPDIR"] = folder
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        # Ports that are free: jobs are refused where another cluster's agent has the usual one.
        head = cluster.add_node(
            num_cpus=2, include_dashboard=True, dashboard_port=_port(), dashboard_agent_listen_port=0
        )
        sys.stdout.write(f"{cluster.address} http://{head.webui_url}\n")
        sys.stdout.flush()
        sys.stdin.read()
        cluster.shutdown()


def _port() -> int:
    """Returns the dashboard's usual port, or that of any that is free where another cluster has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for port in (8265, 0):
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return int(probe.getsockname()[1])
    raise OSError("no port is free")


if __name__ == "__main__":
    main()
