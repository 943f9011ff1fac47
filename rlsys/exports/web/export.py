"""`rlsys export --format web`: a run's world model as a page that dreams in the visitor's browser."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from rlsys import registry
from rlsys.api import World, WorldContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import CheckpointError, ConfigError
from rlsys.exports.find import find
from rlsys.exports.web.graphs import picture, write_down
from rlsys.exports.web.page import Start, make_page
from rlsys.exports.web.runtime import read_runtime
from rlsys.exports.web.starts import starts
from rlsys.files.outputs import make_folder
from rlsys.types import EnvSpec
from rlsys.viewer.columns import picture_part

_PAGE = "index.html"
_STARTS = 8


def export_page(run: str, to: Path, *, directory: str = "runs", checkpoint: str = "latest", trust: bool = False) -> str:
    """Writes the page of one checkpoint's world model.

    Args:
      run: as `find` takes it.
      to: a folder that is empty, or not there yet.
      directory: of all runs.
      checkpoint: "latest", "best" or a learner step.
      trust: as for `find`.

    Returns:
      A sentence about what was written.

    Raises:
      RlsysError: no such run or checkpoint, no world model that shows pictures, something is missing that pages are
        made with, or the place is taken or cannot be written.
    """
    source = find(run, directory, trust=trust)
    experiment = source.loaded.experiment
    algorithm, env = registry.get_algorithm(experiment.algorithm, "rlsys export"), env_spec(experiment.env)
    if algorithm.make_world is None:
        raise ConfigError(
            f"--format web with algorithm = {algorithm.name}, whose networks foretell nothing that can be seen; these "
            f"have world models of pictures: {_dreamers()}. Leave out --format."
        )
    _check(to, env)
    opened = source.open_with_world(checkpoint)
    files = read_runtime()
    with opened.loading("world") as saved:
        world = algorithm.make_world(WorldContext(in_full_precision(experiment.section), env, saved))
    title = f"{experiment.env.id} dreamed by {algorithm.name} at learner step {opened.learner_step:,}"
    page = dream_page(world, experiment.env, experiment.run.seed, title, files)
    make_folder(to, "--to")
    path = to / _PAGE
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}. Choose another place.") from None
    return (
        f"{source.name} at learner step {opened.learner_step:,} dreams in {path}: {len(page) / 1e6:,.1f} MB. "
        "Open it, or put it on any server."
    )


def dream_page(world: World, config: EnvConfig, seed: int, title: str, files: Mapping[str, bytes]) -> str:
    """Returns a page in which a world goes on from beginnings of its environment.

    Args:
      world: on the CPU, computing with 32 bits.
      config: its environment, one part of which is a picture.
      seed: of the beginnings.
      title: of the page.
      files: the runtime's.

    Raises:
      RlsysError: the world cannot be written down, or its environment not be made.
    """
    env = env_spec(config)
    with torch.no_grad():
        begun = list(starts(world, config, env, seed, _STARTS))
        shown = [Start(state, picture(world, env, state)) for state in begun]
    return make_page(title, env, write_down(world, env, begun[0]), shown, files)


def _check(to: Path, env: EnvSpec) -> None:
    if picture_part(env) is None:
        raise ConfigError(
            f"--format web with {env.id}, whose observations {env.observation.shape} are no pictures; a page draws "
            "pictures alone. Leave out --format."
        )
    if (to.is_dir() and any(to.iterdir())) or to.is_file():
        raise CheckpointError(f"{to} is not empty, and exports never overwrite. Remove it, or choose another name.")


def in_full_precision(section: Any) -> Any:
    """Returns a section whose networks compute with 32 bits, as a page does, whatever this machine could."""
    changed: dict[str, Any] = {}
    for name, value in section:
        if name == "precision":
            changed[name] = "fp32"
        elif isinstance(value, BaseModel):
            changed[name] = in_full_precision(value)
    return section.model_copy(update=changed)


def _dreamers() -> str:
    return ", ".join(name for name in registry.names() if registry.get_algorithm(name, "rlsys export").make_world)
