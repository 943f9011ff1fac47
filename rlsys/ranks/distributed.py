"""Data-parallel learner ranks: averaging and agreement over torch.distributed.

CPU tensors travel over gloo, CUDA tensors over NCCL.
"""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


class Ranks:
    """The group of all learner ranks, seen from one of them; trivial with a single rank."""

    def __init__(self, rank: int, num_ranks: int, meeting: str) -> None:
        """Joins the group.

        Args:
          rank: of this process, from 0.
          num_ranks: processes in the group.
          meeting: where they meet, from `meet_here` or `meet_at` of one of them.
        """
        self.rank = rank
        self.num_ranks = num_ranks
        if num_ranks > 1:
            if meeting.startswith("file:"):
                _use_loopback()
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=num_ranks)

    def average(self, tensors: list[Any]) -> None:
        """Replaces each tensor by its mean over the ranks, in one collective per device and dtype."""
        if self.num_ranks == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.num_ranks
        offset = 0
        for tensor in tensors:
            tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()

    def all(self, mine: bool) -> bool:
        """Returns True on every rank if it is True on all."""
        if self.num_ranks == 1:
            return mine
        flag = torch.tensor([int(mine)])
        dist.all_reduce(flag, op=dist.ReduceOp.MIN)
        return bool(flag.item())

    def close(self) -> None:
        """Leaves the group."""
        if self.num_ranks > 1 and dist.is_initialized():
            dist.destroy_process_group()


def meet_here() -> str:
    """Returns a meeting for ranks on one machine: a file, so that nothing listens to other machines."""
    return (Path(tempfile.mkdtemp(prefix="rlsys-ranks-")) / "meeting").as_uri()


def meet_at(host: str) -> str:
    """Returns a meeting for ranks on several machines: a free port of `host`, which must be this machine."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"


def _use_loopback() -> None:
    """Lets gloo and NCCL connect over loopback, where the user has not chosen; they would take the hostname's."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", loopback)
