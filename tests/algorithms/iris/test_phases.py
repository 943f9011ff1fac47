"""What IRIS does in which order, and how long."""

from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.phases import make_phases, rows_of_environment


def test_the_loop_is_as_long_as_upstreams() -> None:
    phases = make_phases(IrisConfig(compare_every=0))
    units = {kind: sum(phase.units for phase in phases if phase.kind == kind) for kind in {p.kind for p in phases}}
    assert units == {"collect": 500, "tokenizer": 595 * 200, "world_model": 575 * 200, "actor_critic": 550 * 200}
    assert 500 * rows_of_environment(IrisConfig()) == 100_000


def test_each_component_begins_after_its_epochs_and_all_come_in_order() -> None:
    phases = make_phases(IrisConfig(epochs=51, collect_epochs=50))
    first = {kind: next(phase.epoch for phase in phases if phase.kind == kind) for kind in {p.kind for p in phases}}
    assert first == {"collect": 1, "tokenizer": 6, "world_model": 26, "actor_critic": 51, "compare": 10}
    assert [phase.kind for phase in phases if phase.epoch == 50] == ["collect", "tokenizer", "world_model", "compare"]
    assert [phase.kind for phase in phases if phase.epoch == 51] == ["tokenizer", "world_model", "actor_critic"]


def test_a_fixed_tokenizer_has_no_phase() -> None:
    config = IrisConfig(epochs=60, collect_epochs=60, load_tokenizer_from="run", tokenizer={"train": False})
    assert "tokenizer" not in {phase.kind for phase in make_phases(config)}


def test_environments_share_an_epoch() -> None:
    assert rows_of_environment(IrisConfig(environments=3)) == 67
