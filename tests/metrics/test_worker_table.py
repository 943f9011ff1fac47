"""Who works for a run: cores and rates from two reports, restarts, sums by kind."""

import os

import pytest

from rlsys.metrics.process_stats import ProcessMeter, ProcessStats
from rlsys.metrics.worker_table import WorkerTable
from rlsys.runs.workers import Worker, WorkerKind

MIB = 2**20


def process_stats(
    pid: int = 7, at_s: float = 0.0, cpu_s: float = 0.0, node: str = "a", busy_s: float = 0.0
) -> ProcessStats:
    return ProcessStats(node, 16, busy_s, pid, at_s, cpu_s, rss_bytes=300 * MIB, pss_bytes=200 * MIB)


def test_a_process_knows_its_pid_its_cpu_time_and_its_memory() -> None:
    meter = ProcessMeter()
    first = meter.take()
    while (second := meter.take()).cpu_s - first.cpu_s < 0.01:
        sum(range(10_000))
    assert first.pid == os.getpid()
    assert 0.0 < second.cpu_s - first.cpu_s <= 8 * (second.at_s - first.at_s)
    assert second.busy_s >= first.busy_s > 0.0
    assert 10 * MIB < first.pss_bytes <= first.rss_bytes
    assert first.cores == os.cpu_count()


def test_rows_tell_cores_rates_shares_and_lag() -> None:
    worker_table = WorkerTable()
    worker_table.newest_version = 9
    worker_table.report(Worker.rollout(1), process_stats(at_s=10.0, cpu_s=1.0), spent={"env": 1.0}, version=-1)
    (row,) = worker_table.rows()
    assert (row.cores_used, row.version, row.lag) == (0.0, None, None)
    spent = {"env": 1.5, "act": 0.5}
    counts = {"env steps": 64}
    worker_table.report(
        Worker.rollout(1), process_stats(at_s=14.0, cpu_s=4.0), spent=spent, counts=counts, does="acts", version=7
    )
    worker_table.report(Worker(WorkerKind.DRIVER, 0), process_stats(pid=1))
    driver, row = worker_table.rows()
    assert (driver.kind, row.kind, row.index, row.node, row.pid, row.does) == ("driver", "rollout", 1, "a", 7, "acts")
    assert row.cores_used == pytest.approx(0.75)
    assert row.rates == {"env steps": 32.0}
    assert row.shares == {"env": 0.75, "act": 0.25}
    assert (row.version, row.lag) == (7, 2)


def test_another_process_in_a_workers_place_is_a_restart_and_who_left_is_forgotten() -> None:
    worker_table = WorkerTable()
    for pid, at_s, cpu_s in ((7, 1.0, 5.0), (8, 2.0, 0.5), (8, 3.0, 1.0)):
        worker_table.report(Worker(WorkerKind.SHARD, 0), process_stats(pid=pid, at_s=at_s, cpu_s=cpu_s))
    (row,) = worker_table.rows()
    assert (row.pid, row.restarts) == (8, 1)
    assert row.cores_used == pytest.approx(0.5)
    worker_table.left(Worker(WorkerKind.SHARD, 0))
    assert worker_table.rows() == []
    worker_table.report(Worker(WorkerKind.SHARD, 0), process_stats(pid=9))
    assert worker_table.rows()[0].restarts == 0, "a worker that joins again was not restarted"


def test_sums_by_kind_and_the_cores_of_all_machines_are_metrics() -> None:
    worker_table = WorkerTable()
    for at_s in (0.0, 2.0):
        for index, node in enumerate(("a", "a", "b")):
            busy_s = 10 * at_s if node == "b" else 4 * at_s
            seen = process_stats(pid=index, at_s=at_s, cpu_s=0.5 * at_s, node=node, busy_s=busy_s)
            worker_table.report(Worker.rollout(index), seen, spent={"env": 1.0, "act": 3.0})
    assert worker_table.system() == {
        "system/rollout_processes": 3.0,
        "system/rollout_cpu_cores": pytest.approx(1.5),
        "system/rollout_memory_mib": pytest.approx(600.0),
        "system/cores": 32.0,
        "system/busy_cores": pytest.approx(14.0),
    }
    assert worker_table.take_shares() == {"workers/rollout_env_share": 0.25, "workers/rollout_act_share": 0.75}
    assert worker_table.take_shares() == {}, "each interval for itself"


def test_workers_without_a_process_of_their_own_have_shares_and_no_row() -> None:
    worker_table = WorkerTable()
    worker_table.report(Worker.rollout(0), None, spent={"env": 1.0})
    assert worker_table.rows() == []
    assert worker_table.take_shares() == {"workers/rollout_env_share": 1.0}
