"""Where bfloat16 pays."""

import pytest
import torch

from rlsys.nets.precision import factors, multiplies_bfloat16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx2": True}, False),
        ({}, False),
    ],
)
def test_a_cpu_multiplies_what_it_says(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    device = torch.device("cpu")
    assert multiplies_bfloat16(device) == expected
    assert factors("bf16", device) == (torch.bfloat16 if expected else torch.float32)
    assert factors("fp32", device) == torch.float32


def test_an_unknown_device_is_not_trusted() -> None:
    assert not multiplies_bfloat16(torch.device("meta"))
