"""What MuZero asks of the runtime, and what does not fit."""

from typing import Any

import pytest
from support.fake_replay import ENV, IMAGES

from rlsys import config as experiments
from rlsys import registry
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.errors import ConfigError
from rlsys.replay.limiter import RateLimiter
from rlsys.types import ArraySpec, EnvSpec

ALGORITHM = registry.get("muzero")


def check(env: EnvSpec = ENV, num_environments: int = 8, num_ranks: int = 1, **options: Any) -> None:
    ALGORITHM.check(section(**options), env, num_environments, num_ranks)


def section(**options: Any) -> MuZeroConfig:
    tree = {"algorithm": "muzero", "muzero": options}
    return experiments.build(tree, "a test").section  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "TinyNetwork"}, "needs images"),
        ({"architecture": "MuZeroNetwork"}, "Set muzero.architecture=FCNetwork"),
        ({"architecture": "EfficientZeroNetwork"}, "needs images"),
        ({"num_channels": 16}, "num_channels = 16 with muzero.architecture = FCNetwork, whose sizes are fixed"),
        ({"env": IMAGES, "architecture": "TinyNetwork", "num_action_channels": 16}, "num_action_channels = 16 with"),
        ({"mixed_value_after": 9}, "mixed_value_after = 9 with muzero.reanalyse_fraction = 0; values of old rows"),
        ({"augmentation": ["shift"]}, "observes no pictures. Leave it out"),
        ({"fixed_temperatures": [1.0] * 9}, "9 entries, but there are 8 environments"),
        ({"batch_size": 100, "num_ranks": 3}, "batch_size = 100 cannot be divided among runtime.learners = 3"),
    ],
)
def test_a_section_that_does_not_fit_its_environment_or_workers_is_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(**arguments)


def test_what_fits_is_accepted() -> None:
    check(fixed_temperatures=[1.0, 0.5], batch_size=100, num_ranks=2)
    check(env=IMAGES, architecture="TinyNetwork")
    check(env=IMAGES)
    check(env=IMAGES, architecture="EfficientZeroNetwork", num_channels=16, num_action_channels=16)


def test_segments_overlap_by_what_a_target_reads_ahead() -> None:
    spec = ALGORITHM.cut(section(num_unroll_steps=3, td_steps=7, max_history_length=40), ENV)
    assert (spec.length, spec.overlap, spec.bootstrap_extras) == (40, 10, True)
    assert spec.extras == {VISITS: ArraySpec((3,), "float32"), ROOT_VALUE: ArraySpec((), "float32")}


def test_the_table_holds_the_window_and_the_ratio() -> None:
    options = {"window_size": 9_000, "window_step": 3_000, "stored_before_train": 500, "sampling_ratio": 4.0}
    table = ALGORITHM.store(section(**options), ENV)
    assert (table.max_size, table.initial_size, table.min_size_to_sample) == (9_000, 3_000, 500)
    assert (table.sampler, table.samples_per_insert, table.batch_size) == ("prioritized", 4.0, 256)
    assert ALGORITHM.store(section(), ENV).samples_per_insert is None


@pytest.mark.parametrize("ratio", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("batch_size", [1, 4_096])
@pytest.mark.parametrize("length", [1, 5_000])
def test_neither_inserts_nor_samples_can_be_blocked_for_ever(ratio: float, batch_size: int, length: int) -> None:
    options = {"sampling_ratio": ratio, "batch_size": batch_size, "max_history_length": length}
    spec, table = ALGORITHM.cut(section(**options), ENV), ALGORITHM.store(section(**options), ENV)
    shards = 4
    RateLimiter(table).check(batch_size, shards * (spec.length + spec.overlap))
