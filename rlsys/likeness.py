"""How alike two names are, to people who remember words rather than letters."""

import difflib
import re
from collections.abc import Iterable

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ENOUGH = 0.6
"""From which on a name may be meant."""
_SAME_WORD = 0.72
"""Share of equal letters from which a word is the other one, mistyped."""
_BEGINNING = 0.95
_PART = 0.9
_SHORTEST_BEGINNING = 2
_SHORTEST_PART = 4
_LONG = 5
"""Letters from which a word may be mistyped at its beginning, too."""
_FILLERS = {"n", "num", "number", "of"}
"""Words that say nothing beside others."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Returns those of the known names that could be meant, the likeliest first; of equals, the one that comes first.

    A name is recognised by its words, in any order and spelling (`kung_fu_master`, `KungFuMaster`), by the beginnings
    of words (`num_sims`), by their initials (`lr`), and by its letters, if some are wrong.
    """
    scored = [(likeness(name, candidate), candidate) for candidate in dict.fromkeys(known)]
    likely = [(score, candidate) for score, candidate in scored if score[0] >= _ENOUGH]
    return [candidate for _, candidate in sorted(likely, key=lambda pair: pair[0], reverse=True)]


def likeness(name: str, candidate: str) -> tuple[float, int]:
    """Returns how alike two names are, from 0 to 1, and minus the number of words that only the candidate has."""
    words, others = _words(name), _words(candidate)
    if not words or not others:
        return 0.0, 0
    letters, other_letters = "".join(words), "".join(others)
    taken: set[int] = set()
    found = 0.0
    for word in words:
        alike, index = max((_alike(word, other), -index) for index, other in enumerate(others))
        found += alike * len(word)
        taken |= {-index} if alike else set()
    score = found / len(letters)
    initials = "".join(word[0] for word in others)
    if letters == other_letters:
        score = 1.0
    elif other_letters.startswith(letters) and len(letters) > _SHORTEST_BEGINNING:
        score = max(score, _BEGINNING)
    elif letters == initials or (len(letters) >= _SHORTEST_PART and letters in other_letters):
        score = max(score, _PART)
    score = max(score, difflib.SequenceMatcher(None, letters, other_letters).ratio())
    return round(score, 2), len(taken) - len(others)


def _words(name: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(name)]
    return [word for word in words if word not in _FILLERS] or words


def _alike(word: str, other: str) -> float:
    """Returns 1 for the same word or its plural, less for a beginning or a mistyped one, 0 for another word."""
    if word == other or word.removesuffix("s") == other.removesuffix("s"):
        return 1.0
    if word.isdecimal() or other.isdecimal():
        return 0.0
    stem = word.removesuffix("s")
    if other.startswith(stem) and len(stem) >= _SHORTEST_BEGINNING:
        return _BEGINNING
    if len(word) < _LONG and word[0] != other[0]:
        return 0.0
    ratio = difflib.SequenceMatcher(None, word, other).ratio()
    return ratio if ratio >= _SAME_WORD else 0.0
