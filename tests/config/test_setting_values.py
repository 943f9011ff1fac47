"""Whatever is written after KEY= of any setting makes a run or one line: no other exception, no hang, no memory."""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from rlsys import config, registry
from rlsys.baseline import Baseline
from rlsys.config.values import PartOf, field_type
from rlsys.errors import RlsysError
from rlsys.runs.resolve import resolve
from rlsys.runtime.cluster.capacity import check_memory
from rlsys.runtime.cluster.machine_types import MachineType

EXPERIMENTS = ("muzero-cartpole", "impala-cartpole", "r2ac-tmaze", "ppo-cartpole", "simple-catch", "rllib-ppo-cartpole")
FIELDS = {name: [field.path for field in config.describe(config.load(name))] for name in EXPERIMENTS}
MACHINE = MachineType("a machine", "", 1, 4, 4, 0, 16 * 2**30)
NUMBERS = ["0", "-1", "1", "2", "1e9", "1e21", "-1e308", "1e308", "1e999", ".nan", ".inf", "9" * 500, "1e-308", "0.5"]
OTHERS = [
    "",
    "null",
    "true",
    "[]",
    "{}",
    "[1]",
    "[1e9, 1e9]",
    "[-1, 2]",
    "{a: 1}",
    "[[",
    "a\0b",
    "n" * 5_000,
    "\udcff",
    "\u2028",
]
OTHERS += [
    "/proc/x",
    "s3://",
    "http://[",
    "!!python/name:x",
    "&a [*a]",
    "100000000000",
    "1000000000",
    "65536",
    "auto",
    "none",
]
VALUES = st.sampled_from(NUMBERS + OTHERS) | st.text(max_size=20) | st.integers().map(str) | st.floats().map(str)


def try_setting(name: str, override: str) -> None:
    """Loads and settles an experiment with one setting changed; anything but a refusal in one line is an error."""
    try:
        loaded = config.load(name, overrides=[override])
        algorithm = registry.get(loaded.experiment.algorithm)
        if not isinstance(algorithm, Baseline):
            check_memory(resolve(loaded, algorithm, num_cpus=4, num_gpus=0), [MACHINE])
    except RlsysError as error:
        text = str(error)
        assert 0 < len(text) < 2_000, text
        assert "\n" not in text, text


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("value", ["-1", "1e21", "1e308", "9" * 500, "true", "[1e9, 1e9]", "a\0b", "1000000000"])
def test_no_field_of_any_experiment_is_broken_by_a_value(name: str, value: str) -> None:
    for path in FIELDS[name]:
        try_setting(name, f"{path}={value}")


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(EXPERIMENTS).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(FIELDS[name]))), VALUES
)
@example(("impala-cartpole", "runtime.environments_per_worker"), "1000000")
def test_any_value_of_any_field_makes_a_plan_or_one_line(field: tuple[str, str], value: str) -> None:
    name, path = field
    try_setting(name, f"{path}={value}")


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=30))
def test_any_text_on_the_command_line_makes_a_plan_or_one_line(text: str) -> None:
    try_setting("ppo-cartpole", text)


def models() -> Iterator[type[BaseModel]]:
    yield from (config.RuntimeConfig, config.RunConfig, config.FinalEvaluation)
    yield from {family.config_type: None for family in registry.families()}
    for name in [*registry.names(), *registry.baseline_names()]:
        section = registry.get(name).config_type
        yield section
        fields = [field.annotation for field in section.model_fields.values()]
        yield from (field for field in fields if isinstance(field, type) and issubclass(field, BaseModel))


def unbounded(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yields what of a type is a number or text without bounds, or a flag that takes other things than flags."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from unbounded(arguments[0], (*metadata, *arguments[1:]))
    elif origin in (Union, types.UnionType, tuple):
        for part in arguments:
            yield from unbounded(part)
    elif annotation in (int, float, str):
        adapter = TypeAdapter(Annotated[annotation, Field(), *metadata])
        for beyond in ["x" * 10_000] if annotation is str else [10**31, -(10**31)]:
            if _takes(adapter, beyond):
                yield f"{annotation.__name__} takes {str(beyond)[:40]}"
    elif annotation is bool and not metadata:
        yield "a flag takes 1"
    elif origin is dict and not any(isinstance(part, PartOf) for part in metadata):
        yield "a mapping takes anything"


def _takes(adapter: TypeAdapter, value: object) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_every_setting_has_bounds(model: type[BaseModel]) -> None:
    found = {name: list(unbounded(field_type(model, name))) for name in model.model_fields}
    found.pop("extra", None)  # of RLlib's own arguments, which it checks
    found.pop("tasks", None)  # of which each is an env section
    found.pop("kwargs", None)  # of an environment's constructor, which checks them
    assert {name: what for name, what in found.items() if what} == {}
