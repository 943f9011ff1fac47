"""Golden traces: what a tiny seeded training came to when it was last meant to change.

    python -m rlsys.testing.golden_trace tests/algorithms/golden [NAME …]      # writes them anew; NAME: of an algorithm

A trace of an algorithm on its example has, per update, how much was collected, a checksum of all actions so far, the
metrics, and how far the weights have moved from where they began; and in the end, of every array of weights, its norm
and how far it has moved. So a change of numerics is seen, wherever it is made, and has to be meant.

What rounding alone decides is null there, and not compared: a bias in front of a normalisation has no gradient but
rounding's, which Adam makes as large as any other, and another processor rounds otherwise. It is found where a training
comes to something else that begins a rounding error away.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlsys import registry
from rlsys.api import Algorithm
from rlsys.testing.training import Rank, Training
from rlsys.types import Array

UPDATES = 25
"""Of a trace, unless a learner is done before."""
RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""How far a number may be from the golden one: by so much of its size, or so much in all. Integers are equal.

Measured between SSE and AVX2, and one thread and two: up to 1e-5 of their size, and 2e-7 where almost equal numbers are
subtracted, as in a policy's loss before the first update of a batch.
"""
_DIGITS = 9
_ROUNDED_TRACES, _ROUNDING = 3, 1e-7
"""Trainings that begin a rounding error away, and its size."""


def make_trace(algorithm: Algorithm, rounding_seed: int | None = None) -> dict[str, Any]:
    """Trains for some seconds, with a seed from weights that are rounded otherwise; returns the trace, as JSON data."""
    training = Training(algorithm)
    if rounding_seed is not None:
        learner = training.ranks[0].learner
        learner.load(_rounded_otherwise(learner.save(), np.random.default_rng(rounding_seed)))
    training.publish()
    rank, updates = training.ranks[0], list[dict[str, Any]]()
    begun = rank.learner.weights()
    while len(updates) < UPDATES and rank.learner.steps_left() != 0:
        (metrics,) = training.update()
        updates.append(_trace_update(rank, metrics, begun))
    training.close()
    weights = {name: _trace_array(array, begun[name]) for name, array in sorted(rank.learner.weights().items())}
    return {"algorithm": algorithm.name, "updates": updates, "weights": weights}


def without_rounding(trace: Any, others: Sequence[Any]) -> Any:
    """Returns a trace with None for each float that is another one in one of the others, of the same training."""
    if isinstance(trace, Mapping):
        return {name: without_rounding(part, [other[name] for other in others]) for name, part in trace.items()}
    if isinstance(trace, list):
        return [without_rounding(part, [other[i] for other in others]) for i, part in enumerate(trace)]
    is_kept = not isinstance(trace, float) or all(_is_close(trace, other) for other in others)
    return trace if is_kept else None


def differences(trace: Mapping[str, Any], golden: Mapping[str, Any]) -> list[str]:
    """Returns a line for each number that is not the golden one, in the order of the trace."""
    found, expected = dict(_leaves(trace)), dict(_leaves(golden))
    lines = [f"{name} is new" for name in found if name not in expected]
    lines += [f"{name} is gone" for name in expected if name not in found]
    both = [name for name in found if name in expected]
    return lines + [
        f"{name} = {found[name]}, golden {expected[name]}"
        for name in both
        if not _is_close(found[name], expected[name])
    ]


def golden_path(folder: Path, name: str) -> Path:
    """Returns the file of an algorithm's golden trace."""
    return folder / f"{name}.json"


def write(folder: Path, name: str) -> None:
    """Writes the golden trace of an algorithm anew."""
    algorithm = registry.get_algorithm(name, "a golden trace")
    others = [make_trace(algorithm, seed) for seed in range(_ROUNDED_TRACES)]
    trace = without_rounding(make_trace(algorithm), others)
    lines = [f'"algorithm": {json.dumps(name)}', f'"updates": [\n{_rows(trace["updates"])}\n]']
    for numbers in trace["weights"].values():
        if None in numbers.values():  # of one array, both
            numbers.update(dict.fromkeys(numbers))
    weights = ",\n".join(f"{json.dumps(array)}: {json.dumps(numbers)}" for array, numbers in trace["weights"].items())
    folder.mkdir(parents=True, exist_ok=True)
    golden_path(folder, name).write_text(
        "{\n" + ",\n".join([*lines, f'"weights": {{\n{weights}\n}}']) + "\n}\n", encoding="utf-8"
    )


def _rows(updates: Sequence[Mapping[str, Any]]) -> str:
    return ",\n".join(json.dumps(update) for update in updates)


def _trace_update(rank: Rank, metrics: Mapping[str, float], begun: Mapping[str, Array]) -> dict[str, Any]:
    moved = [_distance(array, begun[name]) for name, array in rank.learner.weights().items()]
    return {
        "decisions": rank.decisions,
        "actions": rank.actions,
        "metrics": {name: _rounded(value) for name, value in sorted(metrics.items())},
        "moved": _rounded(math.hypot(*moved)),
    }


def _trace_array(array: Array, begun: Array) -> dict[str, float]:
    return {"norm": _rounded(_distance(array, np.zeros_like(array))), "moved": _rounded(_distance(array, begun))}


def _distance(array: Array, other: Array) -> float:
    return float(np.linalg.norm((array.astype(np.float64) - other).reshape(-1)))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping | list):
        for name, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, tree


def _rounded_otherwise(saved: Any, rng: np.random.Generator) -> Any:
    """Returns what a learner has saved with arrays that differ by rounding."""
    if isinstance(saved, Mapping):
        return {name: _rounded_otherwise(part, rng) for name, part in saved.items()}
    if isinstance(saved, np.ndarray) and saved.dtype.kind == "f":
        return (saved * (1.0 + _ROUNDING * rng.standard_normal(saved.shape))).astype(saved.dtype)
    return saved


def _is_close(value: Any, golden: Any) -> bool:
    if golden is None:
        return True
    if isinstance(value, float) and isinstance(golden, float):
        return math.isclose(value, golden, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return bool(value == golden)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes golden traces anew.")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", default=registry.names(), help="of algorithms; none: of all"
    )
    asked = parser.parse_args()
    for asked_name in asked.names:
        write(asked.folder, asked_name)
