"""Games of two policies against each other, in lockstep.

Greedy policies would play the same game again and again. So games begin with a few legal moves by chance, and each such
beginning is played twice, by either player from either side.
"""

from collections.abc import Sequence

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Policy
from rlsys.api.masks import split_mask
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.step import action_of
from rlsys.errors import ConfigError
from rlsys.types import Array, EnvSpec

_MOST_DRAWN = 100
"""Beginnings that are tried before it is given up to find one after which a game goes on."""


def play_match(
    first: Policy, second: Policy, config: EnvConfig, games: int, seed: int, *, opening_moves: int = 2
) -> Array:
    """Plays games whose first moves are by chance.

    Args:
      first: has its weights, and was built for half of the games at once.
      second: likewise.
      config: of an environment that is moved in by turns, as each of two players.
      games: an even number; two that follow one another begin alike, and the first player begins the first of them.
      seed: of the beginnings.
      opening_moves: by chance.

    Returns:
      `[games]`, what the first player made of each: 1, ½ or 0.

    Raises:
      ConfigError: games are over after so few moves.
    """
    assert games % 2 == 0, "each beginning is played from both sides"
    seeds = range(seed, seed + games // 2)
    scores = np.empty(games)
    scores[0::2] = _play((first, second), config, seeds, opening_moves)
    scores[1::2] = 1 - _play((second, first), config, seeds, opening_moves)
    return scores


def _play(players: tuple[Policy, Policy], config: EnvConfig, seeds: Sequence[int], opening_moves: int) -> Array:
    """Returns what who begins made of a game of each seed."""
    env = env_spec(config)
    games = running = [_Game(config, env, seed, opening_moves) for seed in seeds]
    actors = [Actor(policy, len(games)) for policy in players]
    mover = opening_moves % 2
    while running:
        actor = actors[mover]
        decision = actor.decide(np.stack([game.observation for game in running]), explore=False)
        action = np.array(decision.action, env.action.dtype)
        rewards = [game.move(mover, action_of(action, row)) for row, game in enumerate(running)]
        actor.observe(action, np.array(rewards, np.float32), np.zeros(len(running), np.bool_))
        kept = [row for row, game in enumerate(running) if not game.ended]
        if len(kept) < len(running):
            running = [running[row] for row in kept]
            for actor in actors:
                actor.keep(kept, 0)
        mover = 1 - mover
    return np.array([game.score for game in games])


class _Game:
    """One game.

    Attributes:
      observation: what the next to move sees.
      ended: whether it is over.
    """

    def __init__(self, config: EnvConfig, env: EnvSpec, seed: int, opening_moves: int) -> None:
        self._env, self._spec = make(config, seed, training=False), env
        rng = np.random.default_rng(seed)
        for _ in range(_MOST_DRAWN):
            self.observation, _ = self._env.reset()
            self._earned, self.ended = [0.0, 0.0], False
            for move in range(opening_moves):
                if not self.ended:
                    self.move(move % 2, self._any(rng))
            if not self.ended:
                return
        raise ConfigError(
            f"opening_moves = {opening_moves} with '{config.id}', whose games are over by then. Lower opening_moves."
        )

    @property
    def score(self) -> float:
        """What who began made of it."""
        return 0.5 + 0.5 * float(np.sign(self._earned[0] - self._earned[1]))

    def move(self, mover: int, action: int | Array) -> float:
        """Moves, and returns the reward of whoever has."""
        self.observation, reward, terminated, truncated, _ = self._env.step(action)
        self._earned[mover] += self._env.record.raw_reward
        self.ended = bool(terminated or truncated)
        return float(reward)

    def _any(self, rng: np.random.Generator) -> int:
        _, mask_BA = split_mask(self._spec, np.asarray(self.observation)[None])
        if mask_BA is None:
            return int(rng.integers(self._spec.num_actions))
        return int(rng.choice(np.flatnonzero(mask_BA[0])))
