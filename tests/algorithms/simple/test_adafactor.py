"""Adafactor, against its equations in numpy."""

import numpy as np
import torch

from rlsys.algorithms.simple.adafactor import Adafactor


def test_adafactor_follows_its_equations() -> None:
    rng = np.random.default_rng(0)
    shapes = {"kernel": (4, 3, 2, 2), "matrix": (5, 3), "bias": (6,)}
    start = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    parameters = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in start.items()}
    optimizer = Adafactor(parameters)
    moments: dict[str, list[np.ndarray]] = {}
    for step in range(1, 4):
        keep = 1 - step**-0.8
        for name, parameter in parameters.items():
            gradient = rng.normal(size=shapes[name])
            parameter.grad = torch.tensor(gradient)
            square = gradient**2 + 1e-30
            by_rows_and_columns = (1, 0)
            seen = [square] if name == "bias" else [square.mean(axis=axis) for axis in by_rows_and_columns]
            old = moments.get(name, [np.zeros_like(each) for each in seen])
            moments[name] = [keep * was + (1 - keep) * now for was, now in zip(old, seen, strict=True)]
            if name == "bias":
                second = moments[name][0]
            else:
                by_output, by_input = moments[name]
                second = by_output[:, None] * by_input[None] / by_output.mean(axis=0)
            update = gradient / np.sqrt(second)
            update /= max(1.0, np.sqrt((update**2).mean()))
            start[name] = start[name] - 0.01 * max(1e-3, np.sqrt((start[name] ** 2).mean())) * update
        optimizer.step(0.01)
    for name, parameter in parameters.items():
        np.testing.assert_allclose(parameter.detach().numpy(), start[name], rtol=1e-9)
    twins = {name: parameter.detach().clone().requires_grad_() for name, parameter in parameters.items()}
    again = Adafactor(twins)
    again.load(optimizer.save())
    for name, parameter in parameters.items():
        parameter.grad = torch.tensor(rng.normal(size=shapes[name]))
        twins[name].grad = parameter.grad.clone()
    optimizer.step(0.01)
    again.step(0.01)
    assert all(torch.equal(parameters[name], twins[name]) for name in parameters)
