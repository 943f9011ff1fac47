"""What MuZero's section refuses."""

import subprocess
import sys
from typing import Any

import pytest

from rlsys import config as experiments
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.config.fields import described_fields
from rlsys.errors import ConfigError


def section(**options: Any) -> MuZeroConfig:
    tree = {"algorithm": "muzero", "muzero": options}
    return experiments.build(tree, "a test").section  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_size": 100}, "window_size = 100 is smaller than stored_before_train = 50000"),
        ({"window_step": 200_000}, "window_step = 200000 is larger than window_size"),
        (
            {"window_size": 400, "window_step": 50, "stored_before_train": 200},
            "window_step = 50 is smaller than stored_before_train = 200; the first update would find about 50 decis",
        ),
        ({"value_support": [3, 3]}, r"value_support = \[3, 3\]"),
        ({"reward_support": [1, -1]}, r"reward_support = \[1, -1\]"),
        ({"value_prefix": 6}, "value_prefix = 6 is larger than num_unroll_steps = 5"),
        ({"num_channels": 6}, "muzero.num_channels = 6"),
        ({"visit_softmax_steps": [10]}, "one step less"),
        ({"visit_softmax_steps": [10, 5]}, "must increase"),
        ({"fixed_temperatures": [1.0, -0.5]}, "greater than or equal to 0"),
        ({"only_prior": True, "only_value": True}, "exclude each other"),
        ({"only_prior": True, "apply_mcts_steps": 2}, "without a search"),
        ({"discount": 1.5}, "muzero.discount = 1.5"),
        ({"architecture": "FcNetwork"}, "muzero.architecture"),
        ({"num_simulation": 3}, "Did you mean 'num_simulations'"),
    ],
)
def test_a_section_that_cannot_work_is_refused_with_its_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        section(**options)


def test_every_option_says_what_it_means() -> None:
    assert all(meaning for _, meaning in described_fields(MuZeroConfig))


def test_the_record_is_imported_without_torch_and_numba() -> None:
    code = "import sys, rlsys.algorithms.muzero; sys.exit(bool({'torch', 'numba', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
