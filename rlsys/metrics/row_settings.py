"""What a row of an evaluation is, by named columns: as a table shows it, and as a label."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rlsys.files.yaml_tree import format_value

Settings = Mapping[str, Any]
"""What a row is: "run", "checkpoint", "agent", "temperature", "noops", "max_steps", "task" and dotted settings; those
that say something."""

_WORDS = {
    "options": "{}",
    "run": "{}",
    "checkpoint": "step {}",
    "agent": "{}",
    "temperature": "temperature {:.12g}",
    "noops": "noops {:.12g}",
    "max_steps": "max_steps {}",
    "task": "{}",
}


def label_of(settings: Settings) -> str:
    """Returns what a row is in one line of words."""
    known = (_WORDS[name].format(value) if name in _WORDS else _word(name, value) for name, value in settings.items())
    return ", ".join(known)


def short_labels(rows: Sequence[Settings]) -> list[str]:
    """Returns what each row is, as far as it is not the same in all; where they do not differ, all of it.

    Sections are left out of the names of settings where these are told apart without.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    missing = object()
    differing = [name for name in names if any(row.get(name, missing) != rows[0].get(name, missing) for row in rows)]
    last = Counter(name.rpartition(".")[2] for name in names)
    short = {name: ending if last[ending := name.rpartition(".")[2]] == 1 else name for name in differing or names}
    return [label_of({short[name]: row[name] for name in short if name in row}) for row in rows]


def columns_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a row of eval.json is, by columns, as text; in one, "options", where they have no names."""
    settings: Settings = row.get("settings") or {"options": row["label"]}
    return {
        name: f"{value:.12g}" if isinstance(value, float) else format_value(value) for name, value in settings.items()
    }


def _word(name: str, value: Any) -> str:
    return f"{name}={format_value(value)}"
