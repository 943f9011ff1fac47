"""Sensitivities of every environment: which unrolls they belong to, and that learning by them is exact."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from rlsys import registry
from rlsys.actor import Actor
from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.history import History
from rlsys.algorithms.impala.requirements import LAST_REWARD
from rlsys.api import Learner, LearnerContext, PolicyContext
from rlsys.nets.elstm import ELSTMCore
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.unrolls import UnrollWriter
from rlsys.testing.replay import StoreReplay
from rlsys.types import ArraySpec, Batch, EnvSpec, Weights

INPUTS, UNITS, LENGTH = 3, 4, 5
ENV = EnvSpec("x", ArraySpec((2,), "float32"), ArraySpec((), "int64"), 3)
FIXED = {"learning_rate": 1e-30, "grad_norm_clipping": 1e9, "stem": "none", "hidden_size": 6}
EXACT = {"network": "elstm", "gradient": "rtrl"}


class Unrolls:
    """Unrolls of a core alone, in order, as a learner sees them; `skip` leaves one out."""

    def __init__(self, num_environments: int) -> None:
        torch.manual_seed(0)
        self.core = ELSTMCore(INPUTS, UNITS)
        self.cells = {e: torch.zeros(UNITS) for e in range(num_environments)}
        self.inputs = {e: torch.randn(INPUTS) for e in range(num_environments)}
        self.positions = dict.fromkeys(range(num_environments), 0)

    def learn(self, history: History, environments: list[int]) -> None:
        """The unrolls of some environments as one batch; the loss is the sum of all outputs."""
        batch = Batch.__new__(Batch)
        batch.environment = np.array(environments)
        positions, inputs, cells = [], [], []
        for e in environments:
            positions.append(self.positions[e])
            self.positions[e] += 1
            rows = torch.cat([self.inputs[e][None], torch.randn(LENGTH, INPUTS)])
            cells.append(self.cells[e])
            with torch.no_grad():
                state = {"cell_0": self.cells[e][None]}
                for row in rows[:-1]:
                    _, state = self.core.step(row[None], state)
            self.cells[e], self.inputs[e] = state["cell_0"][0], rows[-1]
            inputs.append(rows)
        batch.position = np.array(positions)
        initial = torch.stack(cells).requires_grad_()
        first = torch.zeros(len(environments), LENGTH + 1, dtype=torch.bool)
        output, records = self.core.unroll(torch.stack(inputs), first, {"cell_0": initial})
        output[:, :-1].sum().backward()
        history.learn(batch, [initial.grad], records, torch.ones(len(environments), dtype=torch.bool))

    def gradient(self) -> torch.Tensor:
        gradient = self.core.layers[0].weight.grad.clone()
        self.core.zero_grad()
        return gradient


def test_two_unrolls_of_one_environment_in_a_batch_count_one_after_the_other() -> None:
    gradients = []
    for batches in ([[0], [1], [0], [1]], [[0, 1], [0, 1]], [[0, 1, 0, 1]]):
        unrolls = Unrolls(2)
        history = History(unrolls.core)
        torch.manual_seed(1)
        for environments in batches:
            unrolls.learn(history, environments)
        gradients.append(unrolls.gradient())
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[2])


def learned_alone(unrolls: Unrolls, history: History, environments: list[int], seed: int) -> torch.Tensor:
    """The gradient of one more batch, whose inputs the seed decides; nothing is remembered of it but in the history."""
    unrolls.core.zero_grad()
    kept = dict(unrolls.cells), dict(unrolls.inputs), dict(unrolls.positions)
    torch.manual_seed(seed)
    unrolls.learn(history, environments)
    unrolls.cells, unrolls.inputs, unrolls.positions = kept
    return unrolls.gradient()


def test_a_lost_unroll_empties_its_environment_alone_and_is_counted() -> None:
    unrolls = Unrolls(2)
    history = History(unrolls.core)
    unrolls.learn(history, [0, 1])
    unrolls.learn(history, [0, 1])
    saved = history.save()
    followed = [learned_alone(unrolls, restored(unrolls, saved), [e], seed=7) for e in (0, 1)]
    without_past = [learned_alone(unrolls, History(unrolls.core), [e], seed=7) for e in (0, 1)]
    unrolls.positions[0] += 1
    lossy = restored(unrolls, saved)
    torch.testing.assert_close(learned_alone(unrolls, lossy, [0], seed=7), without_past[0])
    torch.testing.assert_close(learned_alone(unrolls, lossy, [1], seed=7), followed[1])
    assert not torch.allclose(followed[0], without_past[0], rtol=1e-3)
    assert lossy.num_lost == 1


def restored(unrolls: Unrolls, saved: Any) -> History:
    history = History(unrolls.core)
    history.load(saved)
    return history


def test_a_worker_that_begins_again_at_0_has_no_past_and_nothing_was_lost() -> None:
    unrolls = Unrolls(1)
    history = History(unrolls.core)
    unrolls.learn(history, [0])
    unrolls.positions[0], unrolls.cells[0] = 0, torch.full((UNITS,), 0.3)
    again = learned_alone(unrolls, history, [0], seed=3)
    torch.testing.assert_close(again, learned_alone(unrolls, History(unrolls.core), [0], seed=3))
    assert history.num_lost == 0


def test_rows_are_made_as_environments_appear_and_survive_a_checkpoint() -> None:
    unrolls = Unrolls(40)
    history = History(unrolls.core)
    unrolls.learn(history, list(range(10)))
    unrolls.learn(history, list(range(40)))
    saved = history.save()
    restored = History(unrolls.core)
    restored.load(saved)
    for name, array in restored.save()["layers"][0].items():
        np.testing.assert_array_equal(array, saved["layers"][0][name])
    assert saved["layers"][0]["weight"].shape == (40, 2, UNITS, INPUTS)
    unrolls.learn(restored, [39])
    assert restored.num_lost == 0
    unrolls.positions[5] += 3
    unrolls.learn(restored, [5])
    assert restored.num_lost == 1


def random_batches(config: ImpalaConfig, num_batches: int, seed: int = 0) -> Iterator[Batch]:
    """Batches of a policy with the learner's first weights, which plays random observations with random ends."""
    algorithm = registry.get("impala")
    segments = algorithm.cut(config, ENV)
    queue = UnrollQueue(algorithm.store(config, ENV), ENV, segments)
    writer = UnrollWriter(segments, ENV, 0, 0, config.batch_size)
    policy = algorithm.make_policy(PolicyContext(config, ENV, seed=seed))
    policy.set_weights(Weights(0, 0, algorithm.make_learner(LearnerContext(config, ENV, seed=0)).weights()))
    rng = np.random.default_rng(seed)
    size = config.batch_size
    actor, observation = Actor(policy, size), rng.normal(size=(size, 2)).astype(np.float32)
    made = 0
    while made < num_batches:
        state = actor.state
        decision = actor.decide(observation, explore=True)
        reward = rng.normal(size=size).astype(np.float32)
        terminated = rng.random(size) < 0.03
        after = rng.normal(size=(size, 2)).astype(np.float32)
        blocks = writer.append_batch(
            observation=observation,
            action=decision.action,
            reward=reward,
            terminated=terminated,
            truncated=np.zeros(size, bool),
            extras=decision.extras,
            state=state,
            weights_version=0,
            next_observation=after,
        )
        actor.observe(decision.action, reward, terminated)
        observation = after
        for block in blocks:
            queue.insert(block)
        while queue.num_items >= size and made < num_batches:
            made += 1
            yield StoreReplay(queue).sample(size, config.unroll_length + 1)


class Given:
    """A replay that gives one batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def sample(self, batch_size: int, length: int) -> Batch:
        return self._batch


def make_learner(config: ImpalaConfig) -> Learner:
    return registry.get("impala").make_learner(LearnerContext(config, ENV, seed=0))


def sum_of_gradients(options: dict[str, Any], num_rows: int) -> dict[str, np.ndarray]:
    """Sums the gradients over all unrolls of `num_rows` rows, while the weights stay as they are."""
    config = ImpalaConfig(**{**FIXED, **options})
    learner, total = make_learner(config), {}
    for batch in random_batches(config, num_rows // config.unroll_length):
        learner.step(Given(batch))
        for name, array in learner.histograms().items():
            if name.startswith("gradients/"):
                total[name] = total.get(name, 0.0) + array.astype(np.float64)
    return total


@pytest.mark.parametrize("network", ["elstm", "rtu", "linear_rtu"])
def test_sensitivities_that_actors_carry_give_the_gradient_of_those_that_the_learner_keeps(network: str) -> None:
    options = {"network": network, "gradient": "rtrl", "batch_size": 3, "unroll_length": 4, "num_layers": 2}
    kept = sum_of_gradients(options, 40)
    carried = sum_of_gradients({**options, "sensitivities": "actor"}, 40)
    truncated = sum_of_gradients({**options, "gradient": "tbptt"}, 40)
    assert kept.keys() == carried.keys()
    core = [name for name in kept if name.startswith("gradients/core.layers.0.w")]
    for name, gradient in kept.items():
        np.testing.assert_allclose(carried[name], gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())
    assert any(np.abs(truncated[name] - kept[name]).max() > 1e-2 * np.abs(kept[name]).max() for name in core)


def test_evaluation_does_not_advance_sensitivities() -> None:
    config = ImpalaConfig(**{**FIXED, **EXACT, "sensitivities": "actor"})
    policy = registry.get("impala").make_policy(PolicyContext(config, ENV, seed=0))
    policy.set_weights(Weights(0, 0, make_learner(config).weights()))
    state = policy.initial_state(2)
    observation = np.ones((2, 2), np.float32)
    for explore in (False, True):
        after = policy.act(observation, state, explore=explore).state
        assert after.keys() == state.keys()
        assert bool((after["sensitivity_0_weight"] != 0).any()) is explore
    assert (state["sensitivity_0_weight"] == 0).all(), "the state that was given is not changed"


def test_a_checkpoint_of_one_gradient_goes_on_with_the_other() -> None:
    rtrl, carried, tbptt = {"gradient": "rtrl"}, {"gradient": "rtrl", "sensitivities": "actor"}, {"gradient": "tbptt"}
    for one, other in ((rtrl, tbptt), (tbptt, rtrl), (carried, rtrl)):
        configs = [ImpalaConfig(**FIXED, network="elstm", batch_size=2, **kind) for kind in (one, other)]
        first, second = (make_learner(config) for config in configs)
        batches = list(random_batches(configs[0], 3))
        first.step(Given(batches[0]))
        second.load(first.save())
        for name, array in first.weights().items():
            np.testing.assert_array_equal(array, second.weights()[name])
        assert np.isfinite(second.step(Given(batches[1]))["loss/total"])
        assert LAST_REWARD in batches[1].state
