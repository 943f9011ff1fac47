"""The tables of tensor shapes in the algorithms' READMEs, against what is really there.

A README has a section "Tensor shapes" with a part for each experiment: a table of letters, and one of tensors. The
experiment is built with `debug=true`, which changes what letters stand for, but not how shapes depend on them.
"""

import re
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
from algorithms.tensor_shapes import MEASURED, Tensors, of_decision

import rlsys
from rlsys import config, registry
from rlsys.config import Experiment
from rlsys.nets import precision
from rlsys.testing.training import Training

PACKAGE = Path(rlsys.__file__).parent
ENVIRONMENTS = 3  # of a training in one process, where the algorithm does not say how many
DEBUG = ["debug=true", f"runtime.environments_per_worker={ENVIRONMENTS}"]
UNLIKE = {
    "muzero-breakout": {"muzero.td_steps": 7, "muzero.num_simulations": 6},
    "muzero-efficientzero": {
        "muzero.td_steps": 7,
        "muzero.num_simulations": 2,
        "muzero.batch_size": 8,
        "muzero.stored_before_train": 30,
    },
    "impala-breakout": {"impala.batch_size": 5, "env.frame_size": [44, 40]},
    "r2ac-tmaze": {"impala.batch_size": 5},
    "impala-pendulum": {"impala.batch_size": 5},
    "iris-catch": {
        "iris.environments": 4,
        "iris.tokenizer.vocabulary_size": 11,
        "iris.tokenizer.embedding_size": 12,
        "iris.tokenizer_training.batch_size": 5,
        "iris.world_model.width": 14,
        "iris.world_model.max_blocks": 8,
        "iris.world_model_training.batch_size": 6,
        "iris.actor_critic.horizon": 9,
        "iris.actor_critic.units": 10,
        "iris.actor_critic_training.batch_size": 7,
    },
    "planet-cartpole-swingup": {
        "env.frame_size": [26, 18],
        "planet.batch_size": 7,
        "planet.length": 9,
        "planet.model_size": 12,
        "planet.planner.candidates": 20,
        "planet.planner.elites": 8,
    },
    "ppo-pendulum": {"ppo.num_environments": 6},
    "ppo-pong": {"ppo.num_environments": 2, "env.frame_size": [26, 18]},
    "simple-pong": {
        "env.frame_size": [26, 18],
        "simple.real_batch_size": 2,
        "simple.real_unrolls": 10,
        "simple.simulated_batch_size": 9,
        "simple.simulated_rollout_length": 8,
        "simple.world_model.batch_size": 5,
        "simple.world_model.target_frames": 7,
        "simple.world_model.recurrent_state_size": 12,
        "simple.world_model.bottleneck_bits": 24,
    },
}
"""Experiment -> settings besides: letters that stand for the same size could be taken for each other."""
UPDATES = {"simple": 2}  # its data is collected before anything learns from it


@dataclass(frozen=True)
class Row:
    """A tensor as the README has it."""

    shape: str
    dtype: str
    where: str


@dataclass(frozen=True)
class Page:
    """One experiment of a README.

    Attributes:
      letters: letter -> size in the default experiment, and the setting that it comes from; "" for none.
      rows: name of a tensor -> what is said about it.
    """

    algorithm: str
    experiment: str
    letters: dict[str, tuple[int, str]]
    rows: dict[str, Row]

    def sizes(self, experiment: Experiment) -> dict[str, int]:
        """What the letters stand for in a variant of the experiment."""
        return {
            letter: value(experiment, setting) if setting else size for letter, (size, setting) in self.letters.items()
        }


def value(experiment: Experiment, setting: str) -> int:
    section, *path = setting.split(".")
    begin = getattr(experiment, section) if section in ("runtime", "run", "env") else experiment.section
    found: Any = reduce(lambda tree, name: tree[int(name)] if name.isdecimal() else getattr(tree, name), path, begin)
    return ENVIRONMENTS if found == "auto" else int(found)


def cells(text: str, first: str) -> list[list[str]]:
    """The rows of the table whose first column has this title."""
    table = re.search(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table, f"no table of {first}s"
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table[1].splitlines()]


@cache
def pages() -> list[Page]:
    found = []
    for name in registry.names():
        text = (PACKAGE / "algorithms" / name / "README.md").read_text() + "\n"
        section = re.search(r"^## Tensor shapes\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, f"{name}/README.md has no section 'Tensor shapes'"
        for part in re.split(r"^### ", section[1], flags=re.MULTILINE)[1:]:
            letters = {row[0]: (int(row[1].replace(",", "")), row[3].strip("`")) for row in cells(part, "letter")}
            rows = {row[0]: Row(row[1].strip("`"), row[2], row[3]) for row in cells(part, "tensor")}
            found.append(Page(name, part.partition("\n")[0].strip("` "), letters, rows))
    return found


def measured(page: Page, experiment: Experiment) -> Tensors:
    training = Training(registry.get(page.algorithm), experiment.section, experiment.env)
    training.publish()
    rank, batches = training.ranks[0], []
    for _ in range(UPDATES.get(page.algorithm, 1)):
        training.update()
        batches += rank.replay.batches
    found = of_decision(rank) | MEASURED[page.algorithm](rank, batches[-1])
    training.close()
    return found


def type_of(tensor: Any) -> str:
    is_record = getattr(tensor.dtype, "names", None) is not None
    return "record" if is_record else str(tensor.dtype).removeprefix("torch.")


def by_experiment() -> list[object]:
    return [pytest.param(page, id=page.experiment) for page in pages()]


def test_every_algorithm_has_a_table() -> None:
    assert {page.algorithm for page in pages()} == set(registry.names()) == set(MEASURED)


@pytest.mark.parametrize("page", by_experiment())
def test_tensors_have_the_shapes_and_types_of_the_table(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: False)  # types as they are on every machine
    unlike = [f"{setting}={size}" for setting, size in UNLIKE[page.experiment].items()]
    experiment = config.load(page.experiment, overrides=DEBUG + unlike).experiment
    sizes, found = page.sizes(experiment), measured(page, experiment)
    expected = {name: (tuple(eval(row.shape, {}, dict(sizes))), row.dtype) for name, row in page.rows.items()}
    assert {name: (tuple(tensor.shape), type_of(tensor)) for name, tensor in found.items()} == expected


@pytest.mark.parametrize("page", by_experiment())
def test_letters_stand_for_the_sizes_of_the_default_experiment(page: Page) -> None:
    experiment = config.load(page.experiment).experiment
    for letter, (size, setting) in page.letters.items():
        assert not setting or value(experiment, setting) == size, (letter, setting)


@pytest.mark.parametrize("page", by_experiment())
def test_every_tensor_is_where_the_table_says(page: Page) -> None:
    for name, row in page.rows.items():
        path, *symbols = re.findall(r"`([^`]+)`", row.where)
        files = [PACKAGE / "algorithms" / page.algorithm / path, PACKAGE / path]
        text = next(file for file in files if file.is_file()).read_text()
        assert symbols, name
        assert all(re.search(rf"\b{symbol}\b", text) for symbol in symbols), (name, row.where)
