"""Inference workers without processes: which requests make a batch, and that answers are those of the policy alone."""

import numpy as np
import pytest

from rlsys import config, registry
from rlsys.api import PolicyContext
from rlsys.errors import ConfigError
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.runtime.workers.inference import InferenceWorker, Request, next_batch
from rlsys.types import Weights
from rlsys.weights import Echo, digest


def impala_spec(*overrides: str) -> RunSpec:
    loaded = config.load("impala-cartpole", "laptop", ["debug=true", "impala.network=elstm", *overrides])
    return resolve(loaded, registry.get("impala"), num_cpus=2, num_gpus=0)


def make_request(size: int, explore: bool = False, seed: int = 0) -> Request:
    rng = np.random.default_rng(seed)
    state = {"cell_0": rng.normal(size=(size, 16)).astype(np.float32), "last_reward": np.ones(size, np.float32)}
    return Request(rng.normal(size=(size, 4)).astype(np.float32), state, explore)


def test_what_waits_is_answered_together_up_to_the_bound_and_in_order() -> None:
    requests = [make_request(size) for size in (3, 3, 3, 5)]
    assert next_batch(requests, max_rows=512) == 4
    assert next_batch(requests, max_rows=9) == 3
    assert next_batch(requests, max_rows=8) == 2
    assert next_batch(requests, max_rows=1) == 1, "one request is never divided"
    mixed = [make_request(2), make_request(2), make_request(2, explore=True)]
    assert next_batch(mixed, max_rows=512) == 2


def test_each_request_gets_the_answer_that_it_would_get_alone() -> None:
    spec = impala_spec()
    learner_weights = registry.get("impala").make_policy(PolicyContext(spec.section, spec.env_spec, seed=3))
    weights = Weights(7, 700, {k: v.numpy() for k, v in learner_weights._network.state_dict().items()})
    worker = InferenceWorker(spec, 0)
    worker.set_weights(weights)
    requests = [make_request(size, seed=size) for size in (1, 4, 2)]
    together = worker.decide(requests)
    alone = [worker.decide([request])[0] for request in requests]
    for decision, other in zip(together, alone, strict=True):
        assert decision.weights_version == 7
        np.testing.assert_array_equal(decision.action, other.action)
        assert decision.state.keys() == other.state.keys()
        for name, value in decision.state.items():
            np.testing.assert_allclose(value, other.state[name], rtol=1e-5, atol=1e-6)
        for name, value in decision.extras.items():
            np.testing.assert_allclose(value, other.extras[name], rtol=1e-5, atol=1e-6)
    report = worker.report()
    assert (report.decisions, report.batches) == (14, 4)
    assert report.acts_with == Echo(7, digest(weights.arrays)), "it echoes what it decides with"
    assert worker.report().decisions == 0


def test_an_algorithm_that_cannot_decide_elsewhere_is_refused() -> None:
    loaded = config.load("muzero-cartpole", "laptop", ["runtime.inference_workers=1"])
    with pytest.raises(ConfigError, match="muzero decides in its rollout workers only"):
        resolve(loaded, registry.get("muzero"), num_cpus=2, num_gpus=0)
    assert impala_spec("runtime.inference_workers=auto").num_inference_workers == 0
    gpu = config.load("impala-cartpole", "gpu", [])
    spec = resolve(gpu, registry.get("impala"), num_cpus=2, num_gpus=1)
    assert (spec.num_inference_workers, spec.runtime.inference_device) == (1, "cuda")
    muzero = resolve(config.load("muzero-cartpole", "gpu", []), registry.get("muzero"), num_cpus=2, num_gpus=1)
    assert muzero.num_inference_workers == 0


def test_workers_that_would_wait_for_a_gpu_for_ever_are_refused() -> None:
    asked = r"wants 0.5 GPUs \(runtime.inference_workers = 1 with 0.5 each\), but the cluster has none"
    with pytest.raises(ConfigError, match=asked):
        impala_spec("runtime.inference_workers=1", "runtime.inference_device=cuda")
    gpu = config.load("impala-cartpole", "gpu", ["runtime.learners=4", "runtime.replay_shards=4"])
    asked = r"wants 2.5 GPUs \(runtime.learners = 4 with 0.5 each and .*\), but the cluster has 1"
    with pytest.raises(ConfigError, match=asked):
        resolve(gpu, registry.get("impala"), num_cpus=4, num_gpus=1)
    assert resolve(gpu, registry.get("impala"), num_cpus=4, num_gpus=3).runtime.learners == 4
