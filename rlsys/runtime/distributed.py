"""Data-parallel learner ranks: averaging and agreement over torch.distributed.

CPU tensors travel over gloo, CUDA tensors over NCCL.
"""

import socket
from typing import Any

import torch
import torch.distributed as dist


class Ranks:
    """The group of all learner ranks, seen from one of them; trivial with a single rank."""

    def __init__(self, rank: int, num_ranks: int, address: str) -> None:
        self.rank = rank
        self.num_ranks = num_ranks
        if num_ranks > 1:
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, init_method=f"tcp://{address}", rank=rank, world_size=num_ranks)

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


def free_address() -> str:
    """Returns this host's address with a free port, for the ranks to meet at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    try:
        host = socket.gethostbyname(socket.gethostname())
    except OSError:
        host = "127.0.0.1"
    return f"{host}:{port}"
