"""What real-time recurrent learning costs in CPU time on one thread, beside upstream's way and beside truncation.

    OMP_NUM_THREADS=1 python benchmarks/rtrl.py [--json FILE]

Three questions, each answered by two works measured in turns, in milliseconds of CPU time, best of many turns:
whatever else a machine does only takes time away.

*gradient*: of the recurrent parameters from one batch of unrolls, with all history. Upstream goes through the rows
with sensitivities `[B, N, D]`; here it is backpropagation within the unroll, a weighted sum of the sensitivities before
it, and one matrix product per unroll that advances them. Both begin with the activations of the forward pass, and must
agree.

*acting*: one step of the core for 48 environments. Upstream's actors carry sensitivities; here they carry cells.

*update*: all of the learner's step by RTRL over the same by truncated backpropagation.
"""

import argparse
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rows import json_option, publish
from torch import Tensor

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.learner import ImpalaLearner
from rlsys.algorithms.impala.requirements import LAST_REWARD, LOGITS, state_sizes
from rlsys.api import LearnerContext
from rlsys.nets.elstm import ELSTMLayer
from rlsys.ops.rtrl import Derivatives, Sensitivities, advance_rows, advance_step, history_gradients
from rlsys.types import ArraySpec, Batch, EnvSpec

_COMMAND = "OMP_NUM_THREADS=1 python benchmarks/rtrl.py"
_SLOTS, _BATCH, _NUM_INPUTS = 48, 32, 257


@dataclass(frozen=True)
class Row:
    """Two works compared.

    Attributes:
      what: gradient, acting or update.
      setting: sizes.
      ours_ms: CPU time of this way.
      other_ms: CPU time of the other way.
      ratio: other / ours, or ours / other for an update.
      target: what the ratio was to reach; at most, for an update.
    """

    what: str
    setting: str
    ours_ms: float
    other_ms: float
    ratio: float
    target: float | None


def _best(works: list[Callable[[], Callable[[], object]]], turns: int) -> list[float]:
    """Returns the least CPU time of each work in milliseconds; each turn prepares first, and is timed then."""
    best = [float("inf")] * len(works)
    for _ in range(turns):
        for index, prepare in enumerate(works):
            work = prepare()
            start = time.process_time()
            work()
            best[index] = min(best[index], 1e3 * (time.process_time() - start))
    return best


def _step_recursion(
    start: Sensitivities, steps: Derivatives, input_TBD: Tensor, error_TBN: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients by upstream's way: sensitivities after each row, weighted with that row's error."""
    weight, recurrent, bias = (tensor.clone() for tensor in start.tensors())
    gradients = torch.zeros_like(weight[0]), torch.zeros_like(recurrent[0]), torch.zeros_like(bias[0])
    for t in range(len(input_TBD)):
        carry_B1N, local_BGN = steps.carry[t].unsqueeze(1), steps.local[t]
        weight = carry_B1N.unsqueeze(-1) * weight + local_BGN.unsqueeze(-1) * input_TBD[t, :, None, None]
        recurrent = carry_B1N * recurrent + local_BGN * steps.previous[t].unsqueeze(1)
        bias = carry_B1N * bias + local_BGN
        error_B1N = error_TBN[t].unsqueeze(1)
        gradients[0].add_((error_B1N.unsqueeze(-1) * weight).sum(dim=0))
        gradients[1].add_((error_B1N * recurrent).sum(dim=0))
        gradients[2].add_((error_B1N * bias).sum(dim=0))
    return gradients


def gradient(num_units: int, length: int, target: float, turns: int = 8) -> Row:
    """Compares gradients of one batch; the last of `length` rows is the bootstrap row, which has no error."""
    torch.manual_seed(0)
    layer = ELSTMLayer(_NUM_INPUTS, num_units)
    input_BTD = torch.randn(_BATCH, length, _NUM_INPUTS)
    keep_TB1 = (torch.rand(length, _BATCH, 1) > 0.01).float()
    cell_BN = torch.randn(_BATCH, num_units)
    error_TBN = torch.randn(length, _BATCH, num_units)
    error_TBN[-1] = 0.0
    zeros = Sensitivities.zeros(_BATCH, num_units, _NUM_INPUTS, cell_BN)
    start = Sensitivities(*(torch.randn_like(tensor) for tensor in zeros.tensors()))
    input_TBD, everyone = input_BTD.transpose(0, 1).contiguous(), range(_BATCH)
    parameters = layer.weight, layer.recurrent, layer.bias

    def ours(table: Sensitivities) -> Callable[[], list[Tensor]]:
        initial_BN = cell_BN.clone().requires_grad_()
        cells_TBN, record = layer.remember(input_BTD, keep_TB1, initial_BN)

        def work() -> list[Tensor]:
            *inside, of_initial = torch.autograd.grad(cells_TBN, [*parameters, initial_BN], error_TBN)
            before = history_gradients(table, of_initial, everyone)
            advance_rows(table, everyone, record.derivatives().before(length - 1), record.input_BTD[:, :-1])
            return [x.add_(y) for x, y in zip(inside, before, strict=True)]

        return work

    def upstream() -> Callable[[], tuple[Tensor, ...]]:
        with torch.no_grad():
            _, record = layer.remember(input_BTD, keep_TB1, cell_BN)
        return lambda: _step_recursion(start, record.derivatives(), input_TBD, error_TBN)

    expected = upstream()()
    for found, other in zip(ours(start.clone())(), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
    ours_ms, other_ms = _best([functools.partial(ours, start.clone()), upstream], turns)
    return Row("gradient", f"N={num_units} T={length} B={_BATCH}", ours_ms, other_ms, other_ms / ours_ms, target)


def acting(num_units: int, target: float, turns: int = 20) -> Row:
    """Compares steps of the core, without stem and heads."""
    torch.manual_seed(0)
    layer = ELSTMLayer(_NUM_INPUTS, num_units)
    input_BD, cell_BN = torch.randn(_SLOTS, _NUM_INPUTS), torch.randn(_SLOTS, num_units)
    carried = Sensitivities.zeros(_SLOTS, num_units, _NUM_INPUTS, cell_BN)
    keep_1B1 = torch.ones(1, _SLOTS, 1)

    @torch.inference_mode()
    def ours() -> None:
        layer.step(input_BD, cell_BN)

    @torch.inference_mode()
    def upstream() -> None:
        _, record = layer.unroll(input_BD.unsqueeze(1), keep_1B1, cell_BN)
        steps = record.derivatives()
        advance_step(carried, Derivatives(steps.previous[0], steps.local[0], steps.carry[0]), input_BD)

    ours_ms, other_ms = _best([lambda: ours, lambda: upstream], turns)
    return Row("acting", f"N={num_units} slots={_SLOTS}", ours_ms, other_ms, other_ms / ours_ms, target)


class PreparedReplay:
    """Gives the same batch again and again, as the next unrolls of the same environments."""

    def __init__(self, config: ImpalaConfig, env: EnvSpec) -> None:
        rng = np.random.default_rng(0)
        size, length = config.batch_size, config.unroll_length
        shape = (size, length + 1, *env.policy_observation.shape)
        state = {name: np.zeros((size, units), np.float32) for name, units in state_sizes(config).items()}
        self._batch = Batch(
            observation=rng.integers(0, 256, shape).astype(env.observation.dtype),
            action=rng.integers(0, env.num_actions, (size, length)),
            reward=rng.integers(-1, 2, (size, length)).astype(np.float32),
            terminated=rng.random((size, length)) < 0.01,
            truncated=np.zeros((size, length), bool),
            extras={LOGITS: rng.standard_normal((size, length, env.num_actions)).astype(np.float32)},
            num_rows=np.full(size, length),
            key=np.zeros(size, np.int64),
            probability=np.ones(size),
            num_items=size,
            weights_version=np.zeros(size, np.int64),
            state={**state, LAST_REWARD: np.zeros(size, np.float32)},
            environment=np.arange(size),
            position=np.zeros(size, np.int64),
        )

    def sample(self, batch_size: int, length: int) -> Batch:
        """Returns the batch."""
        self._batch.position += 1
        return self._batch


def update(what: str, config: dict[str, object], env: EnvSpec, target: float | None, turns: int) -> Row:
    """Compares updates of two learners that differ in nothing but `gradient`."""
    steps = []
    for kind in ("rtrl", "tbptt"):
        section = ImpalaConfig.model_validate({**config, "network": "elstm", "gradient": kind})
        learner, replay = ImpalaLearner(LearnerContext(section, env, 0)), PreparedReplay(section, env)
        step = functools.partial(learner.step, replay)
        step()
        steps.append(step)
    ours_ms, other_ms = _best([lambda: steps[0], lambda: steps[1]], turns)
    setting = f"{what} N={section.hidden_size} T={section.unroll_length} B={section.batch_size}"
    return Row("update", setting, ours_ms, other_ms, ours_ms / other_ms, target)


def measure() -> list[Row]:
    """Measures all rows."""
    torch.set_num_threads(1)
    rooms = EnvSpec("rooms", ArraySpec((3, 72, 96), "uint8"), ArraySpec((), "int64"), num_actions=9)
    pole = EnvSpec("CartPole-v1", ArraySpec((4,), "float32"), ArraySpec((), "int64"), num_actions=2)
    small = {"hidden_size": 64, "fc_size": 64, "unroll_length": 20, "batch_size": 32}
    large = {"hidden_size": 512, "unroll_length": 100, "batch_size": 4, "stem": "deep"}
    return [
        gradient(512, 101, target=49),
        gradient(256, 51, target=18),
        acting(512, target=60),
        acting(256, target=60),
        update("3×72×96", large, rooms, 1.10, turns=4),
        update("CartPole", small, pole, None, turns=200),
    ]


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    json_option(parser)
    path = parser.parse_args().json
    header = f"{'':9} {'':28} {'ours':>9} {'other':>11}    ratio  to reach"
    publish(path, measure(), _line, header=header, command=_COMMAND)


def _line(row: Row) -> str:
    target = "" if row.target is None else f"{'≤' if row.what == 'update' else '≥'} {row.target:g}"
    return f"{row.what:9} {row.setting:28} {row.ours_ms:6.2f} ms {row.other_ms:8.2f} ms {row.ratio:8.2f}  {target}"


if __name__ == "__main__":
    main()
