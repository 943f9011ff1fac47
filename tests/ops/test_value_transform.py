"""The transform of values, against its textbook form in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsys.ops.value_transform import signed_hyperbolic, signed_parabolic, symexp, symlog

NUMBERS = st.floats(-1e6, 1e6)


def squash(x: float, epsilon: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + epsilon * x


@given(NUMBERS, st.sampled_from([1e-3, 1e-2, 0.5]))
def test_squashing_equals_the_textbook_formula(x: float, epsilon: float) -> None:
    squashed = signed_hyperbolic(torch.tensor(x, dtype=torch.float64), epsilon)
    assert squashed.item() == pytest.approx(squash(x, epsilon), rel=1e-9, abs=1e-12)


@given(NUMBERS, st.sampled_from([1e-3, 1e-2, 0.5]))
def test_the_inverse_undoes_it(x: float, epsilon: float) -> None:
    squashed = torch.tensor(squash(x, epsilon), dtype=torch.float64)
    assert signed_parabolic(squashed, epsilon).item() == pytest.approx(x, rel=1e-9, abs=1e-9)


def test_small_numbers_survive_a_round_trip_in_float32() -> None:
    x = torch.linspace(-0.01, 0.01, 1_001)
    torch.testing.assert_close(signed_parabolic(signed_hyperbolic(x)), x, rtol=1e-5, atol=1e-9)
    assert signed_parabolic(torch.zeros(())).item() == 0.0


def test_the_inverse_has_a_finite_gradient_everywhere() -> None:
    x = torch.tensor([-20.0, -1e-6, 0.0, 1e-6, 20.0], requires_grad=True)
    signed_parabolic(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@given(st.floats(-1e4, 1e4))
def test_symlog_is_the_logarithm_on_both_sides_and_symexp_undoes_it(x: float) -> None:
    squashed = symlog(torch.tensor(x, dtype=torch.float64))
    assert squashed.item() == pytest.approx(math.copysign(math.log(abs(x) + 1), x), abs=1e-12)
    assert symexp(squashed).item() == pytest.approx(x, rel=1e-9, abs=1e-12)
