"""Nobody changes what an algorithm computes without meaning to."""

import json
from pathlib import Path

import pytest

from rlsys import registry
from rlsys.testing.golden_trace import differences, golden_path, make_trace

GOLDEN = Path(__file__).parent / "golden"
_SHOWN = 10


@pytest.mark.parametrize("name", registry.names())
def test_an_algorithm_computes_what_it_did(name: str) -> None:
    command = f"python -m rlsys.testing.golden_trace tests/algorithms/golden {name}"
    path = golden_path(GOLDEN, name)
    assert path.exists(), f"{name} has no golden trace; write it with: {command}"
    lines = differences(make_trace(registry.get_algorithm(name, "a test")), json.loads(path.read_text()))
    shown = "\n".join(lines[:_SHOWN])
    assert not lines, f"{name} computes other numbers, {len(lines)} in all; if they are meant, run: {command}\n{shown}"
