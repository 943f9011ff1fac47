"""What SimPLe does in which order, and how long."""

from rlsys.algorithms.simple import SimpleConfig
from rlsys.algorithms.simple.phases import make_phases


def test_the_loop_is_as_long_as_upstreams() -> None:
    phases = make_phases(SimpleConfig())
    rows = [3_200 * phase.units for phase in phases if phase.kind == "collect"]
    assert rows == [6_400] * 16
    model = [phase.units for phase in phases if phase.kind == "model"]
    assert model == [45_000 if epoch in (0, 1, 4, 9, 14) else 15_000 for epoch in range(15)]
    policy = [phase.units for phase in phases if phase.kind == "policy"]
    assert policy == [1_000, 2_000, *[1_000] * 5, 2_000, *[1_000] * 3, 2_000, *[1_000] * 2, 3_000]
    paper = make_phases(SimpleConfig(version="v1_13"))
    totals = {kind: sum(phase.units for phase in paper if phase.kind == kind) for kind in ("model", "policy")}
    assert totals == {"model": 255_000, "policy": 19_000}


def test_the_loop_leaves_out_what_has_no_steps() -> None:
    only_data = SimpleConfig(epochs=1, ppo_epochs_num=0, eval_world_model=False, stop_loop_early=True)
    assert [(phase.kind, phase.units) for phase in make_phases(only_data)] == [
        ("collect", 30),
        ("model", 45_000),
    ]
