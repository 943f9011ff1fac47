"""Which numbers a device multiplies natively."""

from contextlib import AbstractContextManager, nullcontext

import torch

_CPU_FEATURES = ("amx_bf16", "avx512_bf16", "bf16")
"""Names in `torch.cpu.get_capabilities()`, of x86 and of ARM."""


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tells whether products of bfloat16 pay on a device; where they are emulated they are slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(capabilities.get(name, False) for name in _CPU_FEATURES)


def factors(precision: str, device: torch.device) -> torch.dtype:
    """Returns what factors of products are: bfloat16, if "bf16" is asked for and the device has it, or float32."""
    return torch.bfloat16 if precision == "bf16" and multiplies_bfloat16(device) else torch.float32


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Returns a context in which products are rounded to bfloat16, if "bf16" is asked for and the device has it."""
    dtype = factors(precision, device)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
