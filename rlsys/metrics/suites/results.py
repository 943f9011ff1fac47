"""What runs came to on the games of a suite: a method is all runs of a label, a game that of their environment."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rlsys.errors import RlsysError
from rlsys.files.yaml_tree import Tree, read_yaml
from rlsys.metrics.compiling import FoundRun
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.suites.suite import Method, Suite
from rlsys.runs.heartbeat import look

_OTHERWISE = "evaluation/return"
_ROOM = 0.1
"""Share of the suite's decisions by which a run may miss them before that is said: workers end a little late."""


@dataclass
class Results:
    """What was found.

    Attributes:
      methods: with a return for each run that has one.
      troubles: runs that do not count, and those that count for less or more than they should, in some words each.
    """

    methods: list[Method]
    troubles: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Return:
    game: str
    value: float
    decisions: int


class _LeftOutError(RlsysError):
    """Why a run does not count."""


def read_results(suite: Suite, runs: Sequence[FoundRun], metric: str | None = None) -> Results:
    """Reads the last return of each run.

    Args:
      suite: the games.
      runs: as found below a folder.
      metric: what is the return; None takes that of the run's first final evaluation, and where there is none, the last
        evaluation beside training.
    """
    found: dict[str, list[_Return]] = {}
    troubles: list[str] = []
    for run in runs:
        try:
            found.setdefault(run.label, []).append(_read(suite, run, metric, troubles))
        except RlsysError as error:
            troubles.append(f"{run.label}/{run.name} is left out: {error}")
    methods = []
    for label, values in sorted(found.items()):
        games = sorted({one.game for one in values})
        returns = {game: [one.value for one in values if one.game == game] for game in games}
        methods += [Method(label, "", returns)] if returns else []
        troubles += _other_budget(suite, label, [one.decisions for one in values])
    return Results(methods, troubles)


def _other_budget(suite: Suite, label: str, decisions: Sequence[int]) -> list[str]:
    """Says which runs have learned from more or less than the suite allows."""
    others = sorted(count for count in decisions if abs(count - suite.decisions) > _ROOM * suite.decisions)
    if not others:
        return []
    told = f"{others[0]:,}" if others[0] == others[-1] else f"{others[0]:,} to {others[-1]:,}"
    return [
        f"{len(others):,} of {len(decisions):,} runs of {label} made {told} decisions, not the {suite.decisions:,} of "
        f"{suite.name}"
    ]


def _read(suite: Suite, run: FoundRun, metric: str | None, troubles: list[str]) -> _Return:
    tree = read_yaml(run.folder / "config.yaml")
    env_id = _at(tree, "env", "id")
    game = suite.game_of(env_id) if isinstance(env_id, str) else None
    if game is None:
        raise _LeftOutError(f"{env_id} is no game of {suite.name}" if env_id else "its config.yaml names no env.id")
    sighting = look(run.folder)
    if sighting is not None and not sighting.is_complete:
        raise _LeftOutError("it still trains" if sighting.is_alive else f"it is not complete: {sighting.reason}")
    rows = read_metrics(run.folder, troubles.append)
    wanted = metric or _metric_of(tree)
    scored = [row for row in rows if math.isfinite(row.get(wanted, math.nan))]
    if not scored:
        raise _LeftOutError(f"it has no {wanted}")
    return _Return(game, float(scored[-1][wanted]), int(max(row["env_steps"] for row in rows)))


def _metric_of(tree: Tree) -> str:
    """Returns the name of a run's score in its metrics."""
    sets = _at(tree, "run", "final_evaluation")
    first = sets[0] if isinstance(sets, list) and sets else None
    return f"final/{first['name']}" if isinstance(first, dict) and "name" in first else _OTHERWISE


def _at(tree: Tree, section: str, name: str) -> object:
    found = tree.get(section)
    return found.get(name) if isinstance(found, dict) else None
