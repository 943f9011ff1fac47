"""A world's steps as ONNX graphs, whose weights lie beside them, in 16 bits.

    state …, action, draw …  ── step ──▶  next state …, picture, reward, over
    state …                  ── renew ─▶  next state …

Weights are rounded to half precision and widened again where they are loaded: nothing is computed in it. Both graphs
share the weights that they have in common.
"""

import hashlib
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlsys.api import World, WorldState, traceable
from rlsys.errors import ConfigError
from rlsys.exports.web.draws import Draw, Draws
from rlsys.types import Array, EnvSpec
from rlsys.viewer.columns import picture_part

WEIGHTS = "weights"
"""What graphs call the file of their weights."""
_OPSET = 20
_FEWEST_NUMBERS = 256
"""Of a constant that is taken for weights."""
_ALIGNED_BYTES = 64
_SHOWN = 200
_INT64 = 7
"""As ONNX knows it."""

_Function = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Steps:
    """A world, written down.

    Attributes:
      names: of the state's tensors, in the order in which both graphs take and return them.
      step: a graph in ONNX's format; see the module.
      renew: likewise; None where a step always has room.
      draws: what a step draws.
      counted: the name in the state of the number that says whether there is room.
      most: what that is at most where there is.
      weights: of both.
    """

    names: Sequence[str]
    step: bytes
    renew: bytes | None
    draws: Sequence[Draw]
    counted: str
    most: int
    weights: bytes


def picture(world: World, env: EnvSpec, state: WorldState) -> Tensor:
    """Returns what is seen of a state, `[N, H, W]` or `[N, C, H, W]` uint8."""
    part, observation = picture_part(env), world.observe(state)
    assert part is not None, "refused before"
    shown: Tensor = observation[part.name] if isinstance(observation, Mapping) else observation
    return shown


def write_down(world: World, env: EnvSpec, state: WorldState, *, half: bool = True) -> Steps:
    """Returns the steps of a world as graphs.

    Args:
      world: on the CPU, computing with 32 bits.
      env: its environment, one part of which is a picture.
      state: of one copy, that the world has begun; only its names and shapes matter.
      half: whether weights are rounded to 16 bits.

    Raises:
      ConfigError: the world does what a graph cannot, or packages are missing.
    """
    steps, names, dtype = traceable(world), list(state), getattr(torch, np.dtype(env.action.dtype).name)
    action = torch.zeros(1, *env.action.shape)
    tensors = [part.clone() for part in state.values()]

    def step(given: Sequence[Tensor]) -> Sequence[Tensor]:
        *before, chosen = given[: len(names) + 1]
        with Draws(given[len(names) + 1 :]):
            after, outcome = steps.step(dict(zip(names, before, strict=True)), chosen.to(dtype), None)
        seen = (picture(world, env, after), outcome.reward, outcome.terminated.to(torch.uint8))
        return [*(after[name] for name in names), *seen]

    def renew(given: Sequence[Tensor]) -> Sequence[Tensor]:
        assert steps.renew is not None
        after = steps.renew(dict(zip(names, given, strict=True)))
        return [after[name] for name in names]

    with torch.no_grad(), Draws() as drawn:
        steps.step(state, action.to(dtype), None)
    before, after = ([f"{when}.{name}" for name in names] for when in ("state", "next"))
    draws = [f"draw.{index}" for index in range(len(drawn.noted))]
    shelf = _Shelf(half)
    return Steps(
        names,
        shelf.without_weights(
            _graph(step, [*tensors, action, *drawn.values], [*before, "action", *draws], [*after, *_OUTCOME])
        ),
        shelf.without_weights(_graph(renew, tensors, before, after)) if steps.renew else None,
        drawn.noted,
        steps.counted,
        steps.most,
        bytes(shelf.content),
    )


_OUTCOME = ("picture", "reward", "over")


class _Traced(nn.Module):
    """What the exporter of graphs takes: a module."""

    def __init__(self, function: _Function) -> None:
        super().__init__()
        self._function = function

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._function(tensors))


def _graph(function: _Function, tensors: Sequence[Tensor], inputs: list[str], outputs: list[str]) -> Any:
    """Returns a function as `onnx.ModelProto`."""
    module = _Traced(function).eval()
    disabled = logging.root.manager.disable
    try:
        import onnxscript  # noqa: F401 - torch needs it, and says so at length

        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            program = torch.onnx.export(
                module,
                tuple(tensors),
                input_names=inputs,
                output_names=outputs,
                opset_version=_OPSET,
                custom_translation_table={torch.ops.aten.searchsorted.Tensor: _searchsorted},
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise missing(error) from None
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:_SHOWN]
        raise ConfigError(
            f"this world model cannot be written down as a graph: {reason}. Its step may compute with tensors alone, "
            "and draw with torch.rand and torch.randn."
        ) from error
    finally:
        logging.disable(disabled)
    assert program is not None
    return program.model_proto


def _searchsorted(ordered: Any, values: Any, *, right: bool = False, **_: Any) -> Any:
    """Writes `torch.searchsorted` down, for which there is no operator: how many numbers are not above a value."""
    from onnxscript import opset20

    op: Any = opset20  # whose operators take plain numbers, too
    ordered, values = op.Unsqueeze(ordered, [-2]), op.Unsqueeze(values, [-1])
    is_below = op.LessOrEqual(ordered, values) if right else op.Less(ordered, values)
    return op.ReduceSum(op.Cast(is_below, to=_INT64), [-1], keepdims=0)


def missing(error: ImportError) -> ConfigError:
    """Returns what to say where packages that write graphs are not there."""
    return ConfigError(f"--format web needs {error.name}, which is not installed. Install rlsys[web].")


@dataclass
class _Shelf:
    """Weights side by side, each once.

    Attributes:
      half: whether they are rounded to 16 bits.
      content: of all of them.
    """

    half: bool
    content: bytearray = field(default_factory=bytearray)
    _places: dict[bytes, int] = field(default_factory=dict)

    def without_weights(self, model: Any) -> bytes:
        """Puts a graph's weights here, and returns the graph that reads them from `WEIGHTS`."""
        import onnx

        widened = []
        for tensor in model.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.size < _FEWEST_NUMBERS:
                continue
            name = tensor.name
            if self.half and array.dtype == np.float32 and bool((np.abs(array) <= np.finfo(np.float16).max).all()):
                tensor.name = f"{name}.half"
                widened.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
                array = array.astype(np.float16)
            self._put(tensor, array)
        nodes = [*widened, *model.graph.node]
        for node in nodes:
            del node.metadata_props[:]  # where in which file it comes from
        del model.graph.node[:], model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
        model.graph.node.extend(nodes)
        return bytes(model.SerializeToString())

    def _put(self, tensor: Any, array: Array) -> None:
        import onnx

        content = array.tobytes()
        digest = hashlib.sha256(content).digest()
        if digest not in self._places:
            self.content += b"\0" * (-len(self.content) % _ALIGNED_BYTES)
            self._places[digest] = len(self.content)
            self.content += content
        tensor.raw_data = content
        tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        onnx.external_data_helper.set_external_data(tensor, WEIGHTS, self._places[digest], len(content))
        tensor.ClearField("raw_data")
