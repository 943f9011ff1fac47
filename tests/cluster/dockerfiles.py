"""Reads the files in docker/: just as much of the language as they use."""

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it.

    Attributes:
      base: an image, or the name of an earlier stage.
      name: its own.
      steps: (word, rest) of each instruction.
    """

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def instructions(name: str) -> list[tuple[str, str]]:
    """The instructions of a file as (word, rest), with continued lines joined and comments left out."""
    text = (DOCKER / name).read_text()
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines) if word]


def stages(name: str) -> list[Stage]:
    """The stages of a file in order; what comes before the first is left out."""
    found: list[Stage] = []
    for word, rest in instructions(name):
        if word == "FROM":
            base, keyword, stage = rest.partition(" AS ")
            assert keyword, f"stage '{rest}' has no name"
            found.append(Stage(base, stage))
        elif found:
            found[-1].steps.append((word, rest))
    return found


def default(name: str, argument: str) -> str:
    """The default of a build argument."""
    (value,) = [
        rest.split("=", 1)[1] for word, rest in instructions(name) if word == "ARG" and rest.startswith(argument)
    ]
    return value.strip('"')
