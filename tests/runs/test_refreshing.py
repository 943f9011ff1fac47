"""Refreshing stored rows: what is refused before anything starts, and who does it."""

import pytest
from support.refusals import refusal

from rlsys import config, registry
from rlsys.api import Refreshing, TableSpec
from rlsys.errors import ConfigError
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec


def settled(*overrides: str, name: str = "muzero-cartpole", num_cpus: int = 4) -> RunSpec:
    loaded = config.load(name, "laptop", overrides)
    return resolve(loaded, registry.get_algorithm(loaded.experiment.algorithm, "a test"), num_cpus=num_cpus, num_gpus=0)


@pytest.mark.parametrize("share", ["-0.1", "1.5", "nan"])
def test_a_share_outside_of_0_to_1_is_refused(share: str) -> None:
    assert "muzero.reanalyse_fraction" in refusal("muzero-cartpole", "laptop", f"muzero.reanalyse_fraction={share}")


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("muzero-cartpole", ["runtime.reanalyse_workers=2"], "reanalyse_fraction = 0; they would have nothing to do"),
        (
            "impala-cartpole",
            ["runtime.reanalyse_workers=2"],
            "impala cannot refresh what replay keeps. Set runtime.rean",
        ),
        ("muzero-cartpole", ["muzero.reanalyse_fraction=1"], "muzero.reanalyse_fraction = 1 without a data set"),
    ],
)
def test_who_would_have_nothing_to_do_is_refused(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(*overrides, name=name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_share_comes_to_the_table_and_workers_of_their_own_take_cores() -> None:
    spec = settled("muzero.reanalyse_fraction=0.5", "runtime.reanalyse_workers=1")
    assert isinstance(spec.store, TableSpec)
    assert spec.store.refreshing == Refreshing(0.5, 128, 1)
    assert spec.num_rollout_workers == 3
    assert spec.runtime.reanalyse_device == "cpu"
    assert settled().store.refreshing is None
