"""A suite of games: which they are, how much may be learned from, and returns that were published of other methods.

Each is a YAML file in this folder.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsys.envs.families.atari import variants
from rlsys.envs.scores import ATARI, Reference
from rlsys.errors import ConfigError, did_you_mean
from rlsys.files.yaml_tree import read_yaml

_FOLDER = Path(__file__).parent
_ID = "{}NoFrameskip-v4"


@dataclass(frozen=True)
class Method:
    """A method and its returns.

    Attributes:
      name: of it; of runs, their label.
      source: where the returns are published; empty for runs.
      returns: game -> mean return of whole games after training, for each run.
    """

    name: str
    source: str
    returns: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Suite:
    """A suite.

    Attributes:
      name: of it, such as "atari100k".
      decisions: that a run may learn from.
      references: game -> returns of random play and of a human.
      roms: ALE's name of a game -> the game.
      methods: what was published.
    """

    name: str
    decisions: int
    references: Mapping[str, Reference]
    roms: Mapping[str, str]
    methods: Sequence[Method]

    def game_of(self, env_id: str) -> str | None:
        """Returns which of its games an id is of, None if it is of no such."""
        variant = variants().get(env_id)
        return None if variant is None else self.roms.get(variant.rom)

    def normalised(self, game: str, episode_return: float) -> float:
        """Returns a return with random play at 0 and a human at 1."""
        low, high = self.references[game]
        return (episode_return - low) / (high - low)


def names() -> list[str]:
    """Returns the names of all suites, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@functools.cache
def load(name: str) -> Suite:
    """Returns a suite.

    Raises:
      ConfigError: there is none of that name.
    """
    if name not in names():
        hint = did_you_mean(name, names()) or f" Known: {', '.join(names())}."
        raise ConfigError(f"no suite '{name}'.{hint}")
    tree = read_yaml(_FOLDER / f"{name}.yaml")
    methods = [Method(method, str(known["source"]), known["returns"]) for method, known in tree["methods"].items()]
    games = sorted({game for method in methods for game in method.returns})
    roms = {variants()[_ID.format(game)].rom: game for game in games}
    return Suite(name, int(tree["decisions"]), {game: ATARI[rom] for rom, game in roms.items()}, roms, methods)


def env_ids(games: Sequence[str]) -> list[str]:
    """Returns ids of environments, with the name of a suite replaced by those of its games."""
    found = []
    for game in games:
        found += [_ID.format(name) for name in load(game).references] if game in names() else [game]
    return found
