"""Which action a chord of keys means.

Games name their actions by the stick's directions and the button: "UPRIGHTFIRE". What is held together is the action
that has the most of its words and none beside: W+D+SPACE. Number keys pick actions by their number.
"""

import re
from collections.abc import Mapping, Set

from rlsys.errors import ConfigError
from rlsys.types import EnvSpec
from rlsys.viewer.screen import Legend

WORDS = {
    "w": "UP",
    "s": "DOWN",
    "a": "LEFT",
    "d": "RIGHT",
    "space": "FIRE",
    "up": "UP",
    "down": "DOWN",
    "left": "LEFT",
    "right": "RIGHT",
}
"""Key -> the word that it stands for in an action's name."""

_NOTHING = "NOOP"
_NAME = re.compile(f"(?:{'|'.join(dict.fromkeys(WORDS.values()))})+")
_WORD = re.compile("|".join(dict.fromkeys(WORDS.values())))
_OPPOSITES = (frozenset({"UP", "DOWN"}), frozenset({"LEFT", "RIGHT"}))
_LETTERS = {"UP": "W", "DOWN": "S", "LEFT": "A", "RIGHT": "D", "FIRE": "SPACE"}


class ActionKeys:
    """The keys of one environment's actions.

    Attributes:
      noop: the action that does nothing; 0 where no name says which.
      legend: its keys, for who plays.

    Raises:
      ConfigError: actions are not discrete.
    """

    def __init__(self, env: EnvSpec) -> None:
        if not env.num_actions:
            raise ConfigError(
                f"'{env.id}' has actions of shape {env.action.shape}; keys can only mean discrete ones. "
                "Use --watch to see the policy play."
            )
        names = env.action_meanings or tuple(str(action) for action in range(env.num_actions))
        self.noop = names.index(_NOTHING) if _NOTHING in names else 0
        self._num_actions = env.num_actions
        self._by_words: dict[frozenset[str], int] = {}
        for action, name in enumerate(names):
            if _NAME.fullmatch(name.replace(" ", "")):
                self._by_words.setdefault(frozenset(_WORD.findall(name)), action)
        reached = {*self._by_words.values(), *([self.noop] if _NOTHING in names else [])}
        self.legend = self._legend({action: name for action, name in enumerate(names) if action not in reached})

    def action(self, held: Set[str]) -> int | None:
        """Returns the action that keys mean together, None where they mean none; opposite directions cancel out."""
        numbers = [int(key) for key in held if key.isdecimal() and len(key) == 1]
        if numbers:
            return min(numbers) if min(numbers) < self._num_actions else None
        words = {WORDS[key] for key in held if key in WORDS}
        for pair in _OPPOSITES:
            if pair <= words:
                words -= pair
        fitting = [known for known in self._by_words if known <= words]
        return self._by_words[max(fitting, key=len)] if fitting else None

    def _legend(self, unreached: Mapping[int, str]) -> Legend:
        used = set().union(*self._by_words)
        rows = [(letters, word.lower()) for word, letters in _LETTERS.items() if word in used]
        if used - {"FIRE"}:
            rows.append(("ARROWS", "the same directions"))
        if unreached:
            last = min(self._num_actions, 10) - 1
            named = [f"{action} {name}" for action, name in unreached.items() if action <= last and name != str(action)]
            beyond = f"; those above {last} have no key" if self._num_actions > 10 else ""
            rows.append((f"0-{last}", ", ".join(named) + beyond if named else f"the action of that number{beyond}"))
        return rows
