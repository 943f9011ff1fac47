"""Advice: each bottleneck is named by the shares that it leaves, and nothing is said before they are clear."""

import pytest

from rlsys.metrics.advice import Advisor, Setup, advise

TABLE = Setup("muzero-breakout/here", "cpu", is_queue=False, holds_ratio=True)
QUEUE = Setup("impala-pong/here", "cuda", is_queue=True, holds_ratio=False)
FREE = Setup("muzero-breakout/here", "cpu", is_queue=False, holds_ratio=False)


COUNTS = {"cores": 16.0, "busy_cores": 8.0, "rollout_processes": 3.0, "shard_processes": 1.0, "shard_cpu_cores": 0.2}
SHARES = {
    "rollout_env": 0.5,
    "rollout_act": 0.4,
    "rollout_write": 0.1,
    "rollout_wait_replay": 0.0,
    "learner_update": 0.9,
    "learner_wait_replay": 0.0,
    "shard_wait": 0.9,
    "shard_sample": 0.08,
    "shard_insert": 0.02,
}


def row(updates_per_s: float = 12.0, **changes: float) -> dict[str, float]:
    """Metrics of a run on half of its 16 cores in which nothing waits; changes are of `COUNTS` and of shares."""
    counts = {name: changes.pop(name, value) for name, value in COUNTS.items()}
    return {
        "throughput/updates_per_s": updates_per_s,
        **{f"workers/{name}_share": value for name, value in (SHARES | changes).items()},
        **{f"system/{name}": value for name, value in counts.items()},
    }


def test_environments_that_bind_are_answered_with_more_rollout_workers() -> None:
    text = advise(row(rollout_env=0.82, rollout_act=0.1, rollout_write=0.08, learner_wait_replay=0.4), TABLE)
    assert text == (
        "environments bind: rollout workers spend 82 % in the simulator and the learner waits 40 %; "
        "add rollout workers: rlsys scale muzero-breakout/here rollout_workers=5"
    )


@pytest.mark.parametrize(("waits", "rollouts"), [(0.2, 4), (0.6, 6), (0.99, 6)])
def test_as_many_rollout_workers_are_advised_as_the_learner_lacks_at_most_twice_as_many(
    waits: float, rollouts: int
) -> None:
    assert advise(row(learner_wait_replay=waits), QUEUE).endswith(f"rollout_workers={rollouts}")


def test_deciding_and_writing_can_bind_as_well() -> None:
    acting = advise(row(rollout_act=0.7, rollout_env=0.2, learner_wait_replay=0.5), TABLE)
    assert acting.startswith("decisions bind: rollout workers spend 70 % deciding and the learner waits 50 %")
    writing = advise(row(rollout_write=0.7, rollout_env=0.2, rollout_act=0.1, learner_wait_replay=0.5), TABLE)
    assert writing.startswith("writing segments binds: rollout workers spend 70 % cutting and sending segments")


def test_more_workers_are_not_advised_where_all_cores_are_busy() -> None:
    text = advise(row(learner_wait_replay=0.5, busy_cores=15.0), TABLE)
    assert text.startswith(
        "the machines' cores bind: 15.0 of 16 are busy, 0.2 with this run, and the learner waits 50 %"
    )
    assert "(env 50 %)" in text
    assert "scale" not in text


def test_refreshing_rows_that_binds_is_told_whoever_does_it() -> None:
    text = advise(row(rollout_refresh=0.6, rollout_env=0.1, learner_wait_replay=0.5), TABLE)
    assert text.startswith("refreshing stored rows binds: rollout workers spend 60 % searching them anew")
    busy = {"reanalyse_wait_rows": 0.05, "reanalyse_wait_weights": 0.0, "rollout_wait_replay": 0.4}
    text = advise(row(**busy, learner_wait_replay=0.5), TABLE)
    assert text.startswith("reanalysing binds: its workers are busy 95 % of their time, and rollout workers wait 40 %")
    assert "raise runtime.reanalyse_workers" in text
    assert "reanalysing" not in advise(row(**busy | {"reanalyse_wait_rows": 0.6}, learner_wait_replay=0.5), TABLE)


def test_inference_that_binds_is_told_from_rollout_workers_that_wait_for_it() -> None:
    text = advise(row(rollout_act=0.8, rollout_env=0.1, learner_wait_replay=0.5, inference_wait=0.05), QUEUE)
    assert text.startswith("inference binds: its workers are busy 95 % of their time and the learner waits 50 %")
    idle = advise(row(rollout_act=0.2, rollout_env=0.7, learner_wait_replay=0.5, inference_wait=0.6), QUEUE)
    assert idle.startswith("environments bind")


def test_a_learner_that_binds_makes_rollout_workers_wait() -> None:
    text = advise(row(rollout_wait_replay=0.4, learner_wait_replay=0.05), TABLE)
    assert text.startswith("the learner binds: rollout workers wait 40 % of their time until")
    assert "give it a GPU, more cores" in text
    on_gpu = advise(row(rollout_wait_replay=0.4), QUEUE)
    assert on_gpu.endswith("give it more ranks (runtime.learners) or a smaller network")


def test_where_both_wait_the_ratio_or_the_queue_binds() -> None:
    waits = row(rollout_wait_replay=0.3, learner_wait_replay=0.4)
    assert advise(waits, TABLE).startswith("samples per insert bind: the learner waits 40 % and rollout workers 30 %")
    assert advise(waits, QUEUE).startswith("unrolls on their way bind")


@pytest.mark.parametrize("load", [{"shard_wait": 0.1}, {"shard_cpu_cores": 0.95}])
def test_a_shard_that_binds_is_known_by_its_clock_or_by_its_core(load: dict[str, float]) -> None:
    text = advise(row(learner_wait_replay=0.4, **load), TABLE)
    assert text.startswith("replay binds: its shards are busy 9")
    assert "(sample 8 %) and others wait 40 %" in text
    assert text.endswith("runtime.replay_shards=2")
    assert not advise(row(**load), TABLE).startswith("replay binds"), "nobody waits for it"


def test_weights_that_bind_hold_the_learner_back() -> None:
    text = advise(row(learner_held=0.35, learner_wait_replay=0.3), TABLE)
    assert text.startswith("weights bind: the learner is held back 35 % of its time")


def test_a_learner_that_nothing_holds_back_waits_for_batches_on_their_way() -> None:
    assert advise(row(learner_wait_replay=0.4), FREE).startswith("batches on their way bind: the learner waits 40 %")


def test_a_run_in_balance_is_said_to_be() -> None:
    assert advise(row(learner_wait_replay=0.04, rollout_wait_replay=0.1), TABLE) == (
        "nothing waits for long: the learner 4 %, rollout workers 10 % of their time"
    )


def test_nothing_is_said_before_the_first_update_nor_of_one_process() -> None:
    assert advise(row(updates_per_s=0.0, learner_wait_replay=1.0), TABLE) == ""
    alone = {name: value for name, value in row(learner_wait_replay=0.5).items() if "processes" not in name}
    assert advise(alone, TABLE) == ""


def test_advice_comes_once_it_is_clear_and_forgets_what_is_half_a_minute_old() -> None:
    advisor = Advisor(TABLE)
    for _ in range(10):
        advisor.take(5.0, row(updates_per_s=0.0, learner_wait_replay=1.0))
    assert advisor.shares() == {}, "waiting for the first batch is not training"
    for _ in range(2):
        advisor.take(5.0, row(learner_wait_replay=0.6))
    assert advisor.advice() == ""
    advisor.take(5.0, row(learner_wait_replay=0.6))
    assert advisor.advice().startswith("environments bind")
    assert advisor.shares()["workers/learner_wait_replay_share"] == pytest.approx(0.6)
    for _ in range(7):
        advisor.take(5.0, row(rollout_wait_replay=0.5))
    assert advisor.advice().startswith("the learner binds")
    assert advisor.shares()["workers/learner_wait_replay_share"] == 0.0
