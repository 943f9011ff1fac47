"""Who of several checkpoints and scripted opponents is how strong: what `rlsys elo` does."""

import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from matplotlib.figure import Figure

from rlsys import registry
from rlsys.api import Policy, PolicyContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError, did_you_mean
from rlsys.evaluation.episodes import play_episodes
from rlsys.evaluation.matches.games import play_match
from rlsys.evaluation.matches.ratings import Match, intervals, rate
from rlsys.evaluation.overrides import check_policy, with_overrides
from rlsys.exports.find import Trained, find, give_weights
from rlsys.exports.pretrained import weights_in
from rlsys.files.content import replace_content
from rlsys.files.outputs import make_folder, make_writable
from rlsys.process import prepare, use_threads
from rlsys.runs.grid import changed_env
from rlsys.terminal import print_table
from rlsys.viewer import plots

FILE, PICTURE = "elo.json", "elo.png"
_ANCHOR = "random"
_SELF = "self"


@dataclass(frozen=True)
class EloOptions:
    """What `rlsys elo` was asked for.

    Attributes:
      runs: runs or exports, as in `rlsys eval`, of one board game.
      directory: of all runs.
      overrides: KEY=VALUE, settings of the environment and of the algorithm's section that differ.
      checkpoints: of each run: "latest", "best" or learner steps; none is every one that it has kept, or some of them.
      most: checkpoints of each run at most, evenly spread, the first and the last among them.
      against: scripted opponents, values of env.opponent. The rating of "random", or else of the first player, is 0.
      games: of each match.
      opening_moves: by chance, of games of two policies.
      seed: of all games; None takes the first run's own.
      plot: the picture; None is elo.png beside elo.json.
      trust: whether an export may have modules imported, of which its algorithm or its environment comes.
    """

    runs: tuple[str, ...]
    directory: str = "runs"
    overrides: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    most: int = 8
    against: tuple[str, ...] = (_ANCHOR,)
    games: int = 40
    opening_moves: int = 2
    seed: int | None = None
    plot: Path | None = None
    trust: bool = False


@dataclass(frozen=True)
class _Player:
    """A checkpoint, or an opponent that the environment has."""

    name: str
    run: str = ""
    learner_step: int = 0
    policy: Policy | None = None


def rate_runs(options: EloOptions) -> str:
    """Lets all play against all but scripted opponents against each other, and prints and keeps what that says.

    Returns:
      A sentence about where it was kept.

    Raises:
      RlsysError: no such run, other games, or an opponent that there is not.
    """
    prepare()
    use_threads(1)  # small batches gain nothing from more
    _check(options)
    found = [find(source, options.directory, trust=options.trust) for source in dict.fromkeys(options.runs)]
    folder = found[0].output if len(found) == 1 else Path(options.directory).absolute() / "evaluations" / _now()
    make_folder(folder, "the folder of the results")
    picture = options.plot or folder / PICTURE
    make_writable(picture, "--plot")
    seed = found[0].loaded.experiment.run.seed if options.seed is None else options.seed
    board = _board(found, options)
    players = [player for trained in found for player in _checkpoints(trained, options, board, seed)]
    players += [_Player(name) for name in options.against]
    if len(players) < 2:
        raise ConfigError("one player has nobody to play against. Name more checkpoints, runs, or --against.")
    matches = list(_matches(players, board, options, seed))
    rows = _rows(players, matches)
    title = f"Elo in {board.id}, {options.games:,} games of each pair, seeds from {seed}"
    print_table(title, ("player", "Elo", "95 %", "score", "games"), [_cells(row) for row in rows])
    content = {"environment": board.id, "seed": seed, "opening_moves": options.opening_moves, "players": rows}
    content["matches"] = [
        {"first": players[m.first].name, "second": players[m.second].name, "scores": m.scores.tolist()} for m in matches
    ]
    replace_content(folder / FILE, json.dumps(content, indent=1) + "\n")
    plots.save(_figure(rows), picture)
    return f"Kept in {folder / FILE} and {picture}."


def _check(options: EloOptions) -> None:
    if options.games < 2 or options.games % 2:
        raise ConfigError(f"games = {options.games}; each beginning is played from both sides. Choose an even number.")
    if options.most < 1 or options.opening_moves < 0:
        raise ConfigError(
            f"most = {options.most}, opening_moves = {options.opening_moves}; they must be at least 1 and 0. Raise "
            "them."
        )
    if options.plot is not None and options.plot.suffix not in plots.ENDINGS:
        raise ConfigError(f"plot = {options.plot}; its name must end in {' or '.join(plots.ENDINGS)}. Rename it.")


def _board(found: Sequence[Trained], options: EloOptions) -> EnvConfig:
    """Returns the game, moved in for both sides."""
    boards = []
    for trained in found:
        algorithm = registry.get_algorithm(trained.loaded.experiment.algorithm, "rlsys elo")
        config = with_overrides(trained.loaded, algorithm, options.overrides, {})[0].experiment.env
        boards.append(changed_env(config, {"opponent": _SELF}, "opponent") if _opponents(config) else config)
    board = boards[0]
    for config, trained in zip(boards, found, strict=True):
        if config != board:
            raise ConfigError(
                f"{trained.name} plays '{config.id}' with other settings than {found[0].name}; only who plays the same "
                "game can be compared. Name runs of one game."
            )
    if env_spec(board).num_players != 2:
        raise ConfigError(
            f"'{board.id}' is played by one; Elo says who of two wins. Name runs of a game for two, or use rlsys eval."
        )
    known = [name for name in _opponents(board) if name != _SELF]
    for name in options.against:
        if name not in known:
            has = f"has {', '.join(known)}. Choose among these" if known else "has none. Give --against none"
            raise ConfigError(f"against = {name} with '{board.id}', which {has}.{did_you_mean(name, known)}")
    return board


def _opponents(config: EnvConfig) -> tuple[str, ...]:
    """Returns the values of env.opponent, none where an environment has no such setting."""
    field = type(config).model_fields.get("opponent")
    return get_args(field.annotation) if field is not None else ()


def _checkpoints(trained: Trained, options: EloOptions, board: EnvConfig, seed: int) -> Iterator[_Player]:
    """Yields the players of a run, with their weights."""
    algorithm = registry.get_algorithm(trained.loaded.experiment.algorithm, "rlsys elo")
    loaded, changes = with_overrides(trained.loaded, algorithm, options.overrides, {})
    batch = max(options.games // 2, 1)
    context = PolicyContext(loaded.experiment.section, env_spec(board), seed, num_environments=batch)
    check_policy(algorithm.make_policy, context, changes)
    for which in options.checkpoints or _spread(trained, options.most):
        opened = trained.open(which, parts=["weights"])
        policy = algorithm.make_policy(context)
        give_weights(policy, weights_in(opened))
        step = opened.learner_step
        yield _Player(f"{trained.name}#{step}", trained.name, step, policy)


def _spread(trained: Trained, most: int) -> list[str]:
    """Returns up to so many checkpoints that a run has kept, the newest among them."""
    if trained.step is not None:
        return ["latest"]
    steps = trained.checkpoints.list() or ("latest",)
    chosen = np.linspace(len(steps) - 1, 0, min(most, len(steps))).round().astype(int)[::-1]
    return [str(steps[place]) for place in chosen]


def _matches(players: Sequence[_Player], board: EnvConfig, options: EloOptions, seed: int) -> Iterator[Match]:
    """Yields one match after the other, and says how it went."""
    for first, second in itertools.combinations(range(len(players)), 2):
        ours, theirs = players[first], players[second]
        if ours.policy is None:
            continue  # both are scripted
        if theirs.policy is None:
            against = changed_env(board, {"opponent": theirs.name}, "against")
            games = play_episodes(ours.policy, against, options.games, seed, max_environments=options.games // 2)
            scores = 0.5 + 0.5 * np.sign(games.returns)
        else:
            moves = options.opening_moves
            scores = play_match(ours.policy, theirs.policy, board, options.games, seed, opening_moves=moves)
        sys.stdout.write(f"{ours.name} : {theirs.name}  {scores.sum():g} of {len(scores):,}\n")
        sys.stdout.flush()
        yield Match(first, second, scores)


def _rows(players: Sequence[_Player], matches: Sequence[Match]) -> list[dict[str, Any]]:
    """Returns what is known of each player, the strongest first."""
    names = [player.name for player in players]
    anchor = names.index(_ANCHOR) if _ANCHOR in names else 0
    elo, (low, high) = rate(matches, len(players), anchor), intervals(matches, len(players), anchor)
    rows = []
    for index, player in enumerate(players):
        scores = [match.scores for match in matches if match.first == index]
        scores += [1 - match.scores for match in matches if match.second == index]
        played = np.concatenate(scores)
        rows.append(
            {
                "player": player.name,
                "run": player.run,
                "learner_step": player.learner_step,
                "elo": float(elo[index]),
                "interval": [float(low[index]), float(high[index])],
                "score": float(played.mean()),
                "games": len(played),
            }
        )
    return sorted(rows, key=lambda row: -row["elo"])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    low, high = row["interval"]
    return (
        row["player"],
        f"{row['elo']:,.0f}",
        f"{low:,.0f} to {high:,.0f}",
        f"{row['score']:.0%}",
        f"{row['games']:,}",
    )


def _figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draws the rating of each run over its learner steps, and scripted opponents as lines across."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for run in sorted({row["run"] for row in rows if row["run"]}):
        own = sorted((row for row in rows if row["run"] == run), key=lambda row: row["learner_step"])
        steps, elo = ([row[name] for row in own] for name in ("learner_step", "elo"))
        bounds = np.array([row["interval"] for row in own]).T
        errors = np.abs(bounds - np.array(elo))
        axes.errorbar(steps, elo, errors, marker="o", capsize=3, label=run)
    for row in rows:
        if not row["run"]:
            axes.axhline(row["elo"], color="gray", linestyle="--", linewidth=1)
            axes.annotate(row["player"], (1, row["elo"]), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    axes.set(xlabel="learner steps", ylabel="Elo")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _now() -> str:
    return time.strftime("%Y-%m-%d_%H-%M-%S")
