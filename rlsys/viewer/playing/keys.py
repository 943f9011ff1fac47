"""Which action a chord of keys means.

Games name their actions by the stick's directions and the button: "UPRIGHTFIRE". What is held together is the action
that has the most of its words and none beside: W+D+SPACE. An arrow is its direction together with the button, where a
game has that, and other letters are diagonals. Number keys pick actions by their number.

Where several choices are made at once, each of their options but the first has a key, and what is held together is done
together; a choice without a key is its first option. Where actions are numbers, two keys move each of them down and up
by steps; it stays where it was put.
"""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, Protocol

import numpy as np

from rlsys.api.spaces import action_kind
from rlsys.types import Array, EnvSpec
from rlsys.viewer.screen import Legend

WORDS = {
    "w": ("UP",),
    "s": ("DOWN",),
    "a": ("LEFT",),
    "d": ("RIGHT",),
    "space": ("FIRE",),
    "up": ("UP", "FIRE"),
    "down": ("DOWN", "FIRE"),
    "left": ("LEFT", "FIRE"),
    "right": ("RIGHT", "FIRE"),
    "t": ("UP", "RIGHT"),
    "r": ("UP", "LEFT"),
    "g": ("DOWN", "RIGHT"),
    "f": ("DOWN", "LEFT"),
    "u": ("UP", "RIGHT", "FIRE"),
    "y": ("UP", "LEFT", "FIRE"),
    "j": ("DOWN", "RIGHT", "FIRE"),
    "h": ("DOWN", "LEFT", "FIRE"),
}
"""Key -> the words that it stands for in an action's name."""

_ARROWS = ("up", "down", "left", "right")
_NOTHING = "NOOP"
_LETTERS = {"UP": "W", "DOWN": "S", "LEFT": "A", "RIGHT": "D", "FIRE": "SPACE"}
_WORD = re.compile("|".join(_LETTERS))
_NAME = re.compile(f"(?:{_WORD.pattern})+")
_OPPOSITES = (frozenset({"UP", "DOWN"}), frozenset({"LEFT", "RIGHT"}))

_OPTIONS = "1234567890wasdefghijklmotuvyzb"
"""Keys of the options of choices, in their order; those beyond have none."""
_PAIRS = (
    ("left", "right"),
    ("down", "up"),
    ("a", "d"),
    ("s", "w"),
    ("f", "h"),
    ("g", "t"),
    ("j", "l"),
    ("k", "i"),
    ("1", "2"),
    ("3", "4"),
    ("5", "6"),
    ("7", "8"),
    ("9", "0"),
)
"""Keys that move a number down and up; numbers beyond these stay as they are."""
_HOME = "space"
_STEPS = 10
"""From one bound of a number to the other."""
_STEP = 0.1
"""Of a number without bounds."""


class Keys(Protocol):
    """The keys of one environment's actions.

    Attributes:
      legend: its keys, for who plays.
      letters: keys that mean actions, and so nothing else.
    """

    legend: Legend
    letters: Set[str]

    @property
    def noop(self) -> int | Array:
        """The action while no key says what to do."""

    def action(self, held: Set[str]) -> int | Array | None:
        """Returns the action that keys mean together, for one step; None where they mean none."""

    def restart(self) -> None:
        """Forgets what earlier keys have put anywhere."""

    def show(self, action: int | Array) -> str:
        """Returns an action as a text, empty where it need not be shown."""

    def name(self, action: int | Array) -> str:
        """Returns what an action is called."""

    def table(self) -> dict[str, Any]:
        """Returns all of this as JSON has it, for who does the same elsewhere: pages/actions.js."""


def make_keys(env: EnvSpec) -> Keys:
    """Returns the keys of an environment."""
    match action_kind(env):
        case "discrete":
            return ActionKeys(env)
        case "choices":
            return ChoiceKeys(env)
    return NumberKeys(env)


class ActionKeys:
    """The keys of discrete actions; see `Keys`.

    Attributes:
      noop: the action that does nothing; 0 where no name says which.
      legend: its keys, for who plays.
      letters: see `Keys`.
    """

    def __init__(self, env: EnvSpec) -> None:
        names = env.action_meanings or tuple(str(action) for action in range(env.num_actions))
        self.noop = names.index(_NOTHING) if _NOTHING in names else 0
        self._names = names
        self._num_actions = env.num_actions
        self._by_words: dict[frozenset[str], int] = {}
        for action, name in enumerate(names):
            if _NAME.fullmatch(name.replace(" ", "")):
                self._by_words.setdefault(frozenset(_WORD.findall(name)), action)
        self._words = dict(self._known_words())
        self.letters: Set[str] = self._words.keys()
        reached = {*self._by_words.values(), *([self.noop] if _NOTHING in names else [])}
        self.legend = self._legend({action: name for action, name in enumerate(names) if action not in reached})

    def action(self, held: Set[str]) -> int | None:
        """Returns the action that keys mean together, None where they mean none; opposite directions cancel out."""
        numbers = [int(key) for key in held if key.isdecimal() and len(key) == 1]
        if numbers:
            return min(numbers) if min(numbers) < self._num_actions else None
        words = set[str]().union(*(self._words[key] for key in held if key in self._words))
        for pair in _OPPOSITES:
            if pair <= words:
                words -= pair
        fitting = [known for known in self._by_words if known <= words]
        return self._by_words[max(fitting, key=len)] if fitting else None

    def restart(self) -> None:
        """See `Keys`; nothing stays of a key."""

    def show(self, action: int | Array) -> str:
        """See `Keys`; what was done can be seen."""
        return ""

    def name(self, action: int | Array) -> str:
        """See `Keys`."""
        return self._names[int(action)]

    def table(self) -> dict[str, Any]:
        """See `Keys`."""
        return {
            "kind": "actions",
            "words": {key: sorted(words) for key, words in self._words.items()},
            "opposites": [sorted(pair) for pair in _OPPOSITES],
            "known": [[sorted(words), action] for words, action in self._by_words.items()],
            "count": self._num_actions,
            "noop": self.noop,
        }

    def _known_words(self) -> Iterator[tuple[str, frozenset[str]]]:
        """Yields what each key means here: an arrow without the button is a direction, other keys are left out."""
        single = set[str]().union(*self._by_words)
        for key, words in WORDS.items():
            if frozenset(words) in self._by_words or (len(words) == 1 and words[0] in single):
                yield key, frozenset(words)
            elif key in _ARROWS and words[0] in single:
                yield key, frozenset(words[:1])

    def _more_rows(self) -> Iterator[tuple[str, str]]:
        """Yields the legend of arrows and of diagonals."""
        arrows = [self._words[key] for key in _ARROWS if key in self._words]
        if arrows:
            yield "ARROWS", "the same directions" + (", and fire" if any("FIRE" in words for words in arrows) else "")
        for fires in (False, True):
            names = {
                key: "".join(WORDS[key]).lower()
                for key, words in self._words.items()
                if key not in _ARROWS and len(words - {"FIRE"}) == 2 and ("FIRE" in words) == fires
            }
            if names:
                yield " ".join(names).upper(), ", ".join(names.values())

    def _legend(self, unreached: Mapping[int, str]) -> Legend:
        used = set().union(*self._by_words)
        rows = [(letters, word.lower()) for word, letters in _LETTERS.items() if word in used]
        rows += self._more_rows()
        if unreached:
            last = min(self._num_actions, 10) - 1
            named = [f"{action} {name}" for action, name in unreached.items() if action <= last and name != str(action)]
            beyond = f"; those above {last} have no key" if self._num_actions > 10 else ""
            rows.append((f"0-{last}", ", ".join(named) + beyond if named else f"the action of that number{beyond}"))
        return rows


class ChoiceKeys:
    """The keys of several choices at once; see `Keys`.

    Attributes:
      noop: the first option of each.
      legend: its keys, for who plays.
      letters: see `Keys`.
    """

    def __init__(self, env: EnvSpec) -> None:
        options = [(index, option) for index, count in enumerate(env.action_choices) for option in range(1, count)]
        self._by_key = dict(zip(_OPTIONS, options, strict=False))
        self.letters: Set[str] = self._by_key.keys()
        self.noop: Array = np.zeros(env.action.shape, env.action.dtype)
        keys = [[key for key, option in self._by_key.items() if option[0] == index] for index in range(self.noop.size)]
        self.legend: Legend = [
            (" ".join(found).upper(), f"choice {index} = {', '.join(map(str, range(1, len(found) + 1)))}")
            for index, found in enumerate(keys)
            if found
        ]
        if len(options) > len(_OPTIONS):
            self.legend = [*self.legend, ("", f"{len(options) - len(_OPTIONS)} options have no key")]

    def action(self, held: Set[str]) -> Array | None:
        """Returns what keys choose together, the lowest option of each choice; None where they choose nothing."""
        options = sorted((self._by_key[key] for key in held if key in self._by_key), reverse=True)
        chosen = self.noop.copy()
        for index, option in options:
            chosen.flat[index] = option
        return chosen if options else None

    def restart(self) -> None:
        """See `Keys`; nothing stays of a key."""

    def show(self, action: int | Array) -> str:
        """Returns the options."""
        return " ".join(map(str, np.ravel(action).tolist()))

    def name(self, action: int | Array) -> str:
        """See `Keys`."""
        return self.show(action)

    def table(self) -> dict[str, Any]:
        """See `Keys`."""
        return {"kind": "choices", "options": self._by_key, "noop": self.noop.ravel().tolist()}


class NumberKeys:
    """The keys of actions that are numbers; see `Keys`.

    A number begins at 0, or at the bound that is nearest to it.

    Attributes:
      legend: its keys, for who plays.
      letters: see `Keys`.
    """

    def __init__(self, env: EnvSpec) -> None:
        """Makes keys for the first numbers of an environment's actions."""
        size, self._spec = int(np.prod(env.action.shape)), env.action
        self._low, self._high = (
            np.array(bounds or [beyond] * size, np.float64)
            for bounds, beyond in ((env.action_low, -np.inf), (env.action_high, np.inf))
        )
        self._home = np.clip(np.zeros(size), self._low, self._high)
        span = self._high - self._low
        step = np.where(np.isfinite(span), span / _STEPS, _STEP)
        self._step = step if np.dtype(env.action.dtype).kind == "f" else np.ceil(step)
        self._most_down, self._most_up = (
            np.ceil(np.round(room / self._step, 6)) for room in (self._home - self._low, self._high - self._home)
        )
        self._moves = np.zeros(size)
        self.letters: Set[str] = frozenset(key for pair in _PAIRS[:size] for key in pair)
        self.legend = self._legend(size)

    @property
    def noop(self) -> Array:
        """The numbers as they are."""
        numbers: Array = np.clip(self._home + self._moves * self._step, self._low, self._high)
        return numbers.astype(self._spec.dtype).reshape(self._spec.shape)

    def action(self, held: Set[str]) -> Array | None:
        """Moves numbers by a step; None where no key moves one."""
        directions = np.array([(up in held) - (down in held) for down, up in _PAIRS[: len(self._moves)]], np.float64)
        if not directions.any() and _HOME not in held:
            return None
        self._moves *= _HOME not in held
        self._moves[: len(directions)] += directions
        self._moves = np.clip(self._moves, -self._most_down, self._most_up)
        return self.noop

    def restart(self) -> None:
        """Puts all numbers back."""
        self._moves[:] = 0.0

    def show(self, action: int | Array) -> str:
        """Returns the numbers that have keys."""
        numbers = np.ravel(action)
        more = " …" if len(numbers) > len(_PAIRS) else ""
        return " ".join(f"{number:+.2f}" for number in numbers[: len(_PAIRS)].tolist()) + more

    def name(self, action: int | Array) -> str:
        """See `Keys`."""
        return self.show(action)

    def table(self) -> dict[str, Any]:
        """See `Keys`; what has no bound is null."""
        parts = {
            "home": self._home,
            "step": self._step,
            "low": self._low,
            "high": self._high,
            "down": self._most_down,
            "up": self._most_up,
        }
        finite = {
            name: [value if np.isfinite(value) else None for value in part.tolist()] for name, part in parts.items()
        }
        is_whole = np.dtype(self._spec.dtype).kind != "f"
        return {"kind": "numbers", "pairs": _PAIRS, "home_key": _HOME, "whole": is_whole, **finite}

    def _legend(self, size: int) -> Legend:
        rows = [
            (f"{down} {up}".upper(), f"number {index + 1} down and up, {low:g} to {high:g}")
            for index, ((down, up), low, high) in enumerate(zip(_PAIRS, self._low, self._high, strict=False))
        ]
        beyond = f"; those after number {len(_PAIRS)} have no keys" if size > len(_PAIRS) else ""
        return [*rows, (_HOME.upper(), f"all numbers back{beyond}")]
