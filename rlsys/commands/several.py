"""Several runs of one experiment, of each of its games, one after the other, beside others who do the same.

The runs are called 00001, 00002, …, after their game where there are several, and visited in random order, those of all
games with one seed before those with the next: what nobody has begun is begun, what was left before it was complete
goes on, and all else is passed by. Terminals and machines that share the folder divide them so among themselves: of
several who would begin or go on with the same run, one gets it (`rlsys.runs.lease`).
"""

import contextlib
import random
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rlsys import registry
from rlsys.config import Loaded, override
from rlsys.config.location import locations
from rlsys.envs.make import env_spec
from rlsys.envs.table import find
from rlsys.envs.tasks import names
from rlsys.errors import ConfigError, RlsysError, WorkerError
from rlsys.files.yaml_tree import at, leaves
from rlsys.metrics.suites.suite import env_ids
from rlsys.quoting import quoted, run_name
from rlsys.runs import folder as run_folder
from rlsys.runs.folder import RunExistsError
from rlsys.runs.heartbeat import Heartbeat, look
from rlsys.runs.lease import RunLedError
from rlsys.runtime.launch.launch import launch
from rlsys.terminal import as_text

INTERRUPTED = 130
"""The exit status of a run that a signal ended."""


def launch_several(loaded: Loaded, *, inline: bool, resumes: bool) -> int:
    """Trains whichever of an experiment's runs nobody else trains and is not complete: `run.num_runs` of each game.

    Run i has the seed of the experiment plus i, unless one is given on the command line. A run that is begun keeps the
    settings that it began with.

    Args:
      loaded: the merged experiment.
      inline: run each in this one process.
      resumes: go on with those that are neither complete nor led by anybody, rather than pass them by.

    Returns:
      The exit status: 0 when all have been visited, 130 when interrupted.

    Raises:
      WorkerError: some failed; the others have been visited nevertheless.
      RlsysError: what would end each of them alike, or all runs of a game, before one is begun.
    """
    runs = _runs(loaded)
    ends: Counter[str] = Counter()
    failed: list[str] = []
    for run in runs:
        folder = run_folder.path_of(run)
        _say_kept(folder, run, [path for path, layer in loaded.origin.items() if layer == "override"])
        try:
            end = _visit(run, folder, inline=inline, resumes=resumes)
        except (RunLedError, RunExistsError):
            end = "led elsewhere"
        except KeyboardInterrupt:  # before the run has taken signals over, or the second of two
            end = "interrupted"
        except Exception as error:
            if not folder.exists():
                raise
            _say_failed(folder, error)
            failed.append(folder.name)
            continue
        if end == "interrupted":
            _say(f"{loaded.name}: interrupted; the same command goes on with what is left of {len(runs):,} runs")
            return INTERRUPTED
        ends[end] += 1
    counts = [f"{count:,} {end}" for end, count in ends.items()]
    if failed:
        raise WorkerError(
            f"{len(failed):,} of {len(runs):,} runs of {loaded.name} failed: {', '.join(sorted(failed)[:10])}"
            f"{', …' if len(failed) > 10 else ''}{'; '.join(['', *counts])}. The same command tries them again."
        )
    _say(f"{loaded.name}: {len(runs):,} {'run' if len(runs) == 1 else 'runs'}: {', '.join(counts)}")
    return 0


def _runs(loaded: Loaded) -> list[Loaded]:
    """Returns the runs in the order in which they are visited, once it is certain that all games can be played."""
    settings = loaded.experiment.run
    indices = range(1, (settings.num_runs or 1) + 1)
    if not settings.games:
        return [_run(loaded, index) for index in random.sample(indices, len(indices))]
    games = _games(loaded)
    return [_run(loaded, index, game) for index in indices for game in random.sample(games, len(games))]


def _games(loaded: Loaded) -> list[tuple[str, str]]:
    """Returns id and name of each game.

    Raises:
      ConfigError: env.id says otherwise, or one agent plays several environments.
      RlsysError: one of them cannot be played.
    """
    env = loaded.experiment.env
    if env.tasks or loaded.origin.get("env.id") == "override":
        other = "env.tasks" if env.tasks else f"env.id = {env.id}"
        raise ConfigError(f"run.games with {other}; each of its runs plays one of run.games. Leave one of them out.")
    ids = list(dict.fromkeys(env_ids(loaded.experiment.run.games)))
    for env_id in ids:
        find(env_id)  # says what could be meant
    envs = [override(loaded, [f"env.id={env_id}"]).experiment.env for env_id in ids]
    algorithm = registry.get(loaded.experiment.algorithm)
    for one in envs:
        registry.check_spaces(algorithm, env_spec(one))
    return list(zip(ids, names(envs), strict=True))


def _run(loaded: Loaded, index: int, game: tuple[str, str] | None = None) -> Loaded:
    """Returns one of the runs: the experiment with a tag, and as a rule a seed, of its own, and a game if there are."""
    own = [f"run.run_tag={index:05d}"]
    if game is not None:
        own = [f"env.id={game[0]}", f"run.run_tag={game[1]}-{index:05d}", "run.games=[]"]
    if loaded.experiment.run.num_runs is not None:
        own.append("run.num_runs=null")
    if loaded.origin.get("run.seed") != "override":
        own.append(f"run.seed={loaded.experiment.run.seed + index}")
    return override(loaded, own)


def _visit(run: Loaded, folder: Path, *, inline: bool, resumes: bool) -> str:
    """Trains a run if it needs that; returns what became of it, in some words.

    Raises:
      RunLedError, RunExistsError: somebody else was faster.
      Exception: whatever ended it.
    """
    if not folder.exists():
        _say(f"next is {run.name}/{folder.name}, a new run with seed {run.experiment.run.seed}")
        status = launch(run, inline=inline, resume=None, overrides=())
        return "interrupted" if status == INTERRUPTED else "trained"
    sighting = look(folder)
    if sighting is not None and sighting.is_alive:
        return "led elsewhere"
    if sighting is not None and sighting.is_complete:
        return "complete before"
    if not resumes:
        return "begun before"
    if not (folder / "config.yaml").exists():  # whoever made it is about to write that, or has died
        with contextlib.closing(Heartbeat(folder)):
            run_folder.fill(folder, run, inline=inline)
    _say(f"next is {run.name}/{folder.name}, which goes on")
    status = launch(None, inline=inline, resume=str(folder), overrides=(), anew=True)
    return "interrupted" if status == INTERRUPTED else "gone on with"


def _say_kept(folder: Path, run: Loaded, given: Sequence[str]) -> None:
    """Says which of the settings that are given do not count, because a run began with others."""
    if not (folder / "config.yaml").exists():
        return
    try:
        saved = run_folder.load(folder).experiment.model_dump(mode="json")
    except RlsysError:  # which going on with it will say
        return
    now, theirs = run.experiment.model_dump(mode="json"), set(leaves(saved))
    beginnings = dict(locations(run.experiment))  # which are written down as they were found
    kept = [
        f"{path} = {as_text(at(saved, path))}"
        for path in given
        if path in theirs and path not in beginnings and at(saved, path) != at(now, path)
    ]
    if kept:
        _say(
            f"{run.name}/{folder.name} keeps {', '.join(kept)}, with which it began; "
            f"{quoted('launch', '--resume', run_name(folder), 'KEY=VALUE')} changes what can be"
        )


def _say_failed(folder: Path, error: Exception) -> None:
    if not isinstance(error, RlsysError):  # a bug
        traceback.print_exception(error)
    text = " ".join(str(error).split()) or type(error).__name__
    sys.stderr.write(f"error: {folder.parent.name}/{folder.name}: {text}\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
