"""Worlds that are written down: the graphs do what torch does, with the same random numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlsys import registry
from rlsys.api import LearnerContext, World, WorldContext, WorldState, traceable
from rlsys.config import EnvConfig, read_env
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.exports.web.draws import Draw, Draws
from rlsys.exports.web.graphs import WEIGHTS, Steps, _Shelf, picture, write_down
from rlsys.testing.worlds import DotWorld
from rlsys.types import EnvSpec

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

NCP = {"kind": "ncp_single_step", "ncp_units": 200, "width": 8}
DELTAS: dict[str, Any] = {"tokenizer": {"deltas": True}, "actor_critic": {"use_original_frames": True}}
CASES: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "simple": ("simple", {}, {}),
    "simple, deterministic": ("simple", {}, {"world_model": {"generative_model": "deterministic"}}),
    "planet": ("planet", {}, {}),
    "planet, numbers": (
        "planet",
        {"id": "dm_control/cartpole-balance", "observation": "pixels"},
        {"normalize_pictures": True},
    ),
    "iris": ("iris", {}, {"world_model": {"max_blocks": 3, "frames": "parallel"}}),
    "iris, deltas": ("iris", {}, {"world_model": {"max_blocks": 3, "frames": "parallel"}, **DELTAS}),
    "iris, ncp": ("iris", {}, {"world_model": NCP}),
}
STEP_OF_BYTES = {"catch": 8, "dm_control/cartpole-balance": 8}
"""By how much a pixel differs that is rounded otherwise: PlaNet's are quantised to five bits."""

ABSOLUTE = {"iris, deltas": 1e-2}
"""By how much numbers may differ after five steps: each frame is drawn into the one before, so that errors grow."""


def world_of(name: str, env: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[World, EnvSpec]:
    """A world with fresh weights, of debug sizes, on an algorithm's example."""
    algorithm = registry.get_algorithm(name, "a test")
    spec = env_spec(read_env({**algorithm.example_env, **env}))
    tree = dict(algorithm.debug)
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, Mapping) else value
    section = algorithm.config_type(**tree)
    saved = algorithm.make_learner(LearnerContext(section, spec, seed=0)).save()["world"]
    assert algorithm.make_world is not None
    return algorithm.make_world(WorldContext(section, spec, saved)), spec


def begun(world: World, env: EnvSpec) -> WorldState:
    rows, generator = world.min_context, torch.Generator().manual_seed(0)
    frames = torch.randint(256, (1, rows, *env.observation.shape), dtype=torch.uint8, generator=generator)
    state = world.begin(frames, torch.zeros(1, rows - 1, *env.action.shape, dtype=torch.int64))
    renew = traceable(world).renew
    return state if renew is None else renew(state)


class Graphs:
    """Steps that ONNX Runtime takes, as the page does."""

    def __init__(self, steps: Steps, folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(steps.weights)
        self._steps = steps
        self._step = self._open(folder / "step.onnx", steps.step)
        self._renew = None if steps.renew is None else self._open(folder / "renew.onnx", steps.renew)

    def step(self, state: Mapping[str, Any], action: Any, draws: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        if self._renew is not None and state[self._steps.counted][0] > self._steps.most:
            state = dict(zip(self._steps.names, self._renew.run(None, self._given(state)), strict=True))
        given = {**self._given(state), "action": action, **{f"draw.{at}": part for at, part in enumerate(draws)}}
        found = self._step.run(None, given)
        return dict(zip(self._steps.names, found, strict=False)), found[len(self._steps.names) :]

    @staticmethod
    def _open(path: Path, graph: bytes) -> Any:
        path.write_bytes(graph)
        return onnxruntime.InferenceSession(path)

    @staticmethod
    def _given(state: Mapping[str, Any]) -> dict[str, Any]:
        return {f"state.{name}": part for name, part in state.items()}


def as_action(action: int, env: EnvSpec) -> torch.Tensor:
    return torch.full((1, *env.action.shape), action, dtype=getattr(torch, str(env.action.dtype)))


@pytest.mark.parametrize("case", CASES)
def test_graphs_do_what_torch_does(case: str, tmp_path: Path) -> None:
    world, env = world_of(*CASES[case])
    apart = ABSOLUTE.get(case, 1e-5)
    state, traced = begun(world, env), traceable(world)
    steps = write_down(world, env, state, half=False)
    graphs, found = Graphs(steps, tmp_path), {name: part.numpy() for name, part in state.items()}
    for action in (0, 1, 0, 1, 1):
        if traced.renew is not None and int(state[traced.counted]) > traced.most:
            state = traced.renew(state)
        with Draws() as drawn:
            state, expected = traced.step(state, as_action(action, env), None)
        given = as_action(action, env).float().numpy()
        found, (seen, reward, over) = graphs.step(found, given, [part.numpy() for part in drawn.values])
        for name, part in state.items():
            np.testing.assert_allclose(found[name], part.numpy(), rtol=1e-4, atol=apart, err_msg=name)
        shown = picture(world, env, state).numpy()
        assert seen.dtype == np.uint8 and np.abs(seen.astype(int) - shown.astype(int)).max() <= STEP_OF_BYTES[env.id]
        np.testing.assert_allclose(reward, expected.reward.numpy(), rtol=1e-4, atol=apart)
        assert over.tolist() == expected.terminated.int().tolist()
    assert list(drawn.noted) == list(steps.draws)


def test_weights_are_half_as_large_and_pictures_as_they_were(tmp_path: Path) -> None:
    world, env = world_of(*CASES["planet"])
    state = begun(world, env)
    whole, half = (write_down(world, env, state, half=half) for half in (False, True))
    assert len(half.weights) < 0.55 * len(whole.weights)
    given = {name: part.numpy() for name, part in state.items()}
    draws = [np.full(draw.shape, 0.5, np.float32) for draw in half.draws]
    (tmp_path / "whole").mkdir()
    (tmp_path / "half").mkdir()
    action = np.ones(1, np.float32)
    (_, one), (_, other) = (
        Graphs(steps, tmp_path / name).step(given, action, draws) for name, steps in (("whole", whole), ("half", half))
    )
    assert np.abs(one[0].astype(int) - other[0].astype(int)).max() <= STEP_OF_BYTES[env.id]
    np.testing.assert_allclose(one[1], other[1], atol=1e-2)


def test_graphs_share_weights_and_what_16_bits_cannot_hold_keeps_32() -> None:
    onnx = pytest.importorskip("onnx")

    def graph(weights: Any) -> Any:
        number = onnx.TensorProto.FLOAT
        ends = [onnx.helper.make_tensor_value_info(name, number, [64, 64]) for name in ("x", "y")]
        node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
        tensors = [onnx.numpy_helper.from_array(weights, "w")]
        return onnx.helper.make_model(onnx.helper.make_graph([node], "add", ends[:1], ends[1:], tensors))

    shelf, weights = _Shelf(half=True), np.linspace(-1, 1, 4_096, dtype=np.float32).reshape(64, 64)
    first, second = (shelf.without_weights(graph(weights)) for _ in range(2))
    assert first == second and len(first) < 1_000
    np.testing.assert_array_equal(np.frombuffer(bytes(shelf.content), np.float16), weights.ravel().astype(np.float16))
    shelf.without_weights(graph(weights * 1e6))
    np.testing.assert_array_equal(np.frombuffer(bytes(shelf.content[8_192:]), np.float32), weights.ravel() * 1e6)


def test_what_is_drawn_is_noted_or_given() -> None:
    with Draws() as noted:
        numbers = [torch.rand(2, 3), torch.randn(4), torch.rand_like(torch.zeros(1)), torch.zeros(1)]
    assert noted.noted == [Draw("uniform", (2, 3)), Draw("normal", (4,)), Draw("uniform", (1,))]
    with Draws([torch.full((2, 3), 7.0), numbers[1]]):
        assert torch.rand(2, 3, generator=torch.Generator()).tolist() == [[7.0] * 3] * 2
        assert torch.equal(torch.randn(4), numbers[1])


def test_a_world_that_asks_tensors_for_numbers_is_refused_in_one_line() -> None:
    class Asking(DotWorld):
        def step(self, state: Any, action: torch.Tensor, generator: Any = None) -> Any:
            return super().step(state, action * (1 if float(state["position"].sum()) > 0 else 2), generator)

    env, world = env_spec(EnvConfig(id="rlsys/Dot-v0")), Asking(min_context=1)
    state = {"field": torch.zeros(1, *env.observation.shape, dtype=torch.uint8)}
    state |= {"position": torch.ones(1, 2, dtype=torch.int64), "steps": torch.zeros(1, dtype=torch.int64)}
    with pytest.raises(ConfigError, match=r"this world model cannot be written down as a graph: .*") as caught:
        write_down(world, env, state)
    assert "\n" not in str(caught.value)
