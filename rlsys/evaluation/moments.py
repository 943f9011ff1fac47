"""What a policy knows of where its environments are, beside where they truly are: what `rlsys latents` reads.

Shape legend: N moments, D numbers of a kind of latents, K of a part of the state.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rlsys.api import Decision, Policy
from rlsys.errors import ConfigError
from rlsys.evaluation.episode import Episode
from rlsys.files.outputs import unwritable
from rlsys.types import Array, EnvSpec

_OPTION = "--latents"


class Moments:
    """Collects, at each decision of all episodes, the policy's latents and those parts that are no pictures."""

    def __init__(self, policy: Policy, env: EnvSpec) -> None:
        """Takes who acts, and what it is shown.

        Raises:
          ConfigError: the policy has no latents, or nothing of the state is shown.
        """
        if not policy.latents(policy.initial_state(1)):
            raise ConfigError(
                f"{_OPTION}, but {type(policy).__name__} remembers nothing of where it is; only policies that follow a "
                "model's states do. Leave it out."
            )
        self._parts = [part for part in env.parts if len(part.spec.shape) < 2]
        if not self._parts:
            raise ConfigError(
                f"{_OPTION}, but '{env.id}' shows pictures only; there must be something of the true state beside "
                "them, as with env.observation=both in dm_control. Add that."
            )
        self._policy = policy
        self._order: list[int] = []
        self._rows: dict[str, list[Array]] = {}

    def __call__(self, episodes: Sequence[Episode], decision: Decision) -> None:
        """Takes in one decision for each of the running episodes."""
        shown = np.stack([episode.observation for episode in episodes])
        arrays = {part.name or "state": part.of(shown) for part in self._parts}
        for name, array in {**arrays, **self._policy.latents(decision.state)}.items():
            self._rows.setdefault(name, []).append(np.array(array).reshape(len(episodes), -1))
        self._order += [episode.index for episode in episodes]

    def write(self, path: Path) -> None:
        """Writes name -> `[N, D]` or `[N, K]`, one episode after the other.

        Raises:
          ConfigError: the file cannot be written.
        """
        order = np.argsort(self._order, kind="stable")
        try:
            np.savez_compressed(path, **{name: np.concatenate(rows)[order] for name, rows in self._rows.items()})
        except OSError as error:
            raise unwritable(path, _OPTION, error) from None
