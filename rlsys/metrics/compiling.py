"""What many runs came to, under a few names: scores and losses, and histograms of returns.

Runs are ours, of which metrics.jsonl is read, and others', of which TensorBoard event files are, such as PlaNet's
(https://github.com/google-research/planet), whose scalars lie in `train/` and `test/`. A series that is missing is
absent, never made up; what is damaged is said.
"""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rlsys.errors import ConfigError, RlsysError
from rlsys.loss_names import read_loss_name
from rlsys.metrics.event_files import EVENTS, Events, Series, read_events
from rlsys.metrics.rows import METRICS_FILE, read_metrics

SCORES = ("test_score", "image_loss", "reward_loss", "image_loss_te", "reward_loss_te")
"""Keys that PlaNet's compiled scores have; `_te` is of held-out episodes. Other losses are named likewise."""
HISTOGRAMS = ("return_hist", "plan_returns_begin", "plan_returns_end", "cem_returns")
"""Returns of evaluated episodes; those that the planner found for its candidates, in its first iteration and its last,
of which `cem_returns` is another name."""

_ALIASES = {"cem_returns": "plan_returns_end"}
_CONFIG_FILE = "config.yaml"
_PARTS = ("train", "test", "tensorboard")
"""Folders of event files that are parts of a run."""
_LOSS = re.compile(r"(?P<part>train|test)/(.*/)?zero_step_losses/(?P<name>\w+)")
_SCORE = re.compile(r"evaluation/return|test/(.*/)?trainer/test/score")
_HISTOGRAM = re.compile(r"(?!train/).*?(?:(?P<hist>return_hist)|plan_returns?_(?P<when>begin|end))")

Name = Callable[[str], str | None]
"""Returns the key that a metric or tag is compiled under; None leaves it out."""


@dataclass(frozen=True)
class FoundRun:
    """A run that lies below a folder.

    Attributes:
      label: path of its experiment, the folder that it lies in, from that folder on.
      name: its own folder's.
      folder: of the run.
      events: folders with its event files: "", "train" or "test" -> folder.
    """

    label: str
    name: str
    folder: Path
    events: Mapping[str, Path] = field(default_factory=dict)

    @property
    def has_metrics(self) -> bool:
        """Whether it has our metrics."""
        return (self.folder / METRICS_FILE).is_file()


@dataclass
class Compiled:
    """What was found of one run.

    Attributes:
      series: by key; steps are learner steps of our runs, and else the writer's.
      env_steps: of our runs, decisions beside each value, likewise.
      troubles: what is missing or damaged, in some words each.
    """

    series: dict[str, Series] = field(default_factory=dict)
    env_steps: dict[str, list[int]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)


def find_runs(folder: Path) -> list[FoundRun]:
    """Returns all runs below a folder, or the run that it is, whatever their names.

    Raises:
      ConfigError: it is no folder, or there is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder. Give one that runs lie in, at any depth.")
    top = folder.absolute()
    found: dict[Path, dict[str, Path]] = {}
    for place, inner, files in os.walk(top):
        here = Path(place)
        inner.sort()
        if METRICS_FILE in files or _CONFIG_FILE in files:
            found.setdefault(here, {})
        if METRICS_FILE in files:
            inner[:] = [name for name in inner if name == "tensorboard"]
        if any(EVENTS in name for name in files):
            is_part = here != top and here.name in _PARTS
            part = here.name if is_part and here.name != "tensorboard" else ""
            found.setdefault(here.parent if is_part else here, {})[part] = here
    if not found:
        raise ConfigError(
            f"no runs below {folder}: neither {METRICS_FILE} nor event files of TensorBoard. Give another."
        )
    return [FoundRun(*_named(run, top), run, events) for run, events in sorted(found.items())]


def compile_scores(run: FoundRun, chosen: Mapping[str, str]) -> Compiled:
    """Reads the scalars of a run.

    Args:
      run: the run.
      chosen: key -> metric or tag, which is taken for it; of others' runs, the end of one is enough.
    """
    if run.has_metrics:
        return _of_metrics(run.folder, chosen)
    return _of_events(run, _names(_score_key, chosen), lambda events: events.scalars, [*SCORES, *chosen])


def compile_histograms(run: FoundRun, chosen: Mapping[str, str]) -> Compiled:
    """Reads the histograms of a run, which lie in its event files; arguments as for `compile_scores`."""
    known = [key for key in HISTOGRAMS if key not in _ALIASES]
    found = _of_events(run, _names(_histogram_key, chosen), lambda events: events.histograms, [*known, *chosen])
    for alias, key in _ALIASES.items():
        if key in found.series:
            found.series.setdefault(alias, found.series[key])
    return found


def _of_metrics(folder: Path, chosen: Mapping[str, str]) -> Compiled:
    """Reads metrics.jsonl."""
    found = _Finding(_names(_score_key, chosen))
    try:
        rows = read_metrics(folder, found.compiled.troubles.append)
    except RlsysError as error:
        rows = []
        found.compiled.troubles.append(str(error))
    for metric in sorted({name for row in rows for name in row}):
        kept = [row for row in rows if math.isfinite(row.get(metric, math.nan))]
        series = Series([int(row["learner_step"]) for row in kept], [float(row[metric]) for row in kept])
        if (key := found.take(metric, series)) is not None:
            found.compiled.env_steps[key] = [int(row["env_steps"]) for row in kept]
    return found.end([*SCORES, *chosen])


def _of_events(
    run: FoundRun, key_of: Name, kind: Callable[[Events], Mapping[str, Series]], wanted: Sequence[str]
) -> Compiled:
    """Reads event files."""
    found = _Finding(key_of)
    for part, folder in sorted(run.events.items()):
        prefix = f"{part}/" if part else ""
        events = read_events(folder, partial(_is_named, key_of, prefix))
        found.compiled.troubles += [f"{prefix}{text}" for text in events.troubles]
        for tag, series in kind(events).items():
            found.take(f"{prefix}{tag}", series)
    return found.end(wanted)


def _is_named(key_of: Name, prefix: str, tag: str) -> bool:
    return key_of(f"{prefix}{tag}") is not None


class _Finding:
    """Series by key, of which the first counts that has any values; the names of others are kept to be said."""

    def __init__(self, key_of: Name) -> None:
        self.compiled = Compiled()
        self._key_of = key_of
        self._others: dict[str, list[str]] = {}

    def take(self, name: str, series: Series) -> str | None:
        """Takes in a series under the key of its name; returns the key if it counts."""
        key = self._key_of(name)
        if key is None or not series.steps:
            return None
        if key in self.compiled.series:
            self._others.setdefault(key, []).append(name)
            return None
        self.compiled.series[key] = series
        return key

    def end(self, wanted: Sequence[str]) -> Compiled:
        """Returns what was found, and says what is missing or could be meant, too."""
        found = self.compiled
        found.troubles += [f"{key} could also be {' or '.join(names)}" for key, names in self._others.items()]
        if missing := [key for key in dict.fromkeys(wanted) if key not in found.series]:
            found.troubles.append(f"no {', '.join(missing)}")
        found.series = {
            key: found.series[key] for key in dict.fromkeys([*wanted, *sorted(found.series)]) if key in found.series
        }
        return found


def _names(default: Name, chosen: Mapping[str, str]) -> Name:
    """Returns what names the chosen metrics by their keys, and all others as usual where no chosen one has that key."""

    def key_of(name: str) -> str | None:
        for key, wanted in chosen.items():
            if name == wanted or name.endswith(f"/{wanted}"):
                return key
        usual = default(name)
        return None if usual in chosen else usual

    return key_of


def _score_key(name: str) -> str | None:
    if _SCORE.fullmatch(name):
        return "test_score"
    if (theirs := _LOSS.fullmatch(name)) is not None:
        return f"{theirs['name']}_loss{'_te' if theirs['part'] == 'test' else ''}"
    ours = read_loss_name(name)
    return None if ours is None else f"{ours.of}_loss{'_te' if ours.is_held_out else ''}"


def _histogram_key(name: str) -> str | None:
    found = _HISTOGRAM.fullmatch(name)
    return None if found is None else found["hist"] or f"plan_returns_{found['when']}"


def _named(run: Path, top: Path) -> tuple[str, str]:
    """Returns label and name of a run; of one that lies in the folder itself, or is it, the label is that folder's."""
    if run == top:
        return top.parent.name, top.name
    label = run.parent.relative_to(top).as_posix()
    return (top.name if label == "." else label), run.name


def as_tree(found: Compiled) -> dict[str, Any]:
    """Returns what was found as JSON data: {key: values, …, "steps": {key: steps}}, of our runs with "env_steps"."""
    values = {
        key: [value if isinstance(value, float | int) else value.tolist() for value in series.values]
        for key, series in found.series.items()
    }
    steps = {key: series.steps for key, series in found.series.items()}
    return {**values, "steps": steps, **({"env_steps": found.env_steps} if found.env_steps else {})}
