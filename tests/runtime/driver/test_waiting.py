"""Whoever waits says for what."""

import re

import pytest
import ray

from rlsys.errors import WorkerError
from rlsys.runtime.driver import waiting

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("ray_cluster")]


def test_a_worker_without_a_machine_is_waited_for_aloud_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Learner:
        def start(self) -> int:
            return 7

    monkeypatch.setattr(waiting, "SILENCE_S", 0.5)
    said: list[str] = []
    nowhere = ray.remote(Learner).options(num_gpus=1).remote()
    with pytest.raises(WorkerError, match=r"could not start the learners within \d+ s; free in the cluster: CPU \d"):
        waiting.get([nowhere.start.remote()], "start the learners", said.append, patience_s=1.6)
    assert len(said) >= 2
    assert re.match(r"waiting to start the learners for \d s; free in the cluster: CPU \d", said[0]), said
    ray.kill(nowhere)
    here = ray.remote(Learner).options(num_cpus=0).remote()
    assert waiting.get([here.start.remote()], "start the learners", said.append, patience_s=60.0) == [7]
    ray.kill(here)
