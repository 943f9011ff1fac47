"""Watching a trained policy, playing in its world model, and looking through kept episodes: what `rlsys play` does."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rlsys import registry
from rlsys.api import Algorithm, Policy, PolicyContext, World, WorldContext
from rlsys.checkpoints.checkpoint import Opened
from rlsys.config import Experiment, RunConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.evaluation.episodes import play_episodes
from rlsys.evaluation.overrides import check_policy, with_overrides
from rlsys.exports.find import Trained, find, give_weights
from rlsys.exports.pretrained import weights_in
from rlsys.files.outputs import check_outputs
from rlsys.process import fastest_device, prepare, use_threads
from rlsys.types import Array, EnvSpec, Weights
from rlsys.viewer.film import Film, FilmLimits
from rlsys.viewer.playing.game import Game, ImaginedGame, Reconstruction
from rlsys.viewer.playing.keys import make_keys
from rlsys.viewer.playing.player import Pilot, Player
from rlsys.viewer.playing.replay import Replay
from rlsys.viewer.playing.stage import Show, Stage
from rlsys.viewer.screen import Legend, Screen, WindowClosed
from rlsys.viewer.web import Browser
from rlsys.viewer.window import Window, has_screen

_WATCH_FPS = 30.0
_PLAY_FPS = 20.0
_ZOOM = 4.0
_QUIT: Legend = (("Q", "quit"),)
_PLAYED = (
    "no_real",
    "no_model",
    "record",
    "zoom",
    "episode_steps",
    "agent",
    "reconstruction",
    "header",
    "ask",
)
"""Options that are for playing."""
_OPTIONS = {
    "run.seed": "--seed",
    "run.directory": "--directory",
    "run.video_frames": "--video-frames",
    "run.video_seconds": "--video-seconds",
}
"""What stands for a setting that cannot be changed here."""


@dataclass(frozen=True)
class PlayOptions:
    """What `rlsys play` was asked for.

    Attributes:
      run: a run or an export, as in `rlsys eval`.
      directory: of all runs.
      overrides: KEY=VALUE, settings of the environment and of the algorithm's section that differ.
      checkpoint: "latest", "best" or a learner step.
      seed: of the episodes; None takes the run's own.
      watch: watch one greedy episode of the policy, also where there is a world model to play in.
      web: show it in the browser rather than in a window.
      port: of the page; 0 for a free one.
      fps: pictures per second; None: 20 while playing, 30 while watching.
      film: of the watched episode, an .mp4 or .gif file; None: media/play.mp4 in the run's folder.
      video_frames, video_seconds: pictures, and seconds of drawing, after which the film of an episode ends that nobody
        watches meanwhile; None takes the run's own.
      record: folder for played episodes; None: media in the run's folder.
      no_real: play in the model alone.
      no_model: play the real game alone, also where there is no model.
      agent: begin with the policy playing.
      reconstruction: show the real game as it draws itself, as it is seen, and what the world model makes of that.
      header: write action, reward, end, step and return above the picture.
      ask: at the end of each played episode, whether to keep its recording.
      episodes: look through the episodes that the run has kept.
      zoom: how much frames are enlarged while playing; None: 4.
      episode_steps: steps after which a played episode ends at the latest.
      trust: whether an export may have modules imported, of which its algorithm or its environment comes.
    """

    run: str
    directory: str = "runs"
    overrides: tuple[str, ...] = ()
    checkpoint: str = "latest"
    seed: int | None = None
    watch: bool = False
    web: bool = False
    port: int = 0
    fps: float | None = None
    film: Path | None = None
    video_frames: int | None = None
    video_seconds: float | None = None
    record: Path | None = None
    no_real: bool = False
    no_model: bool = False
    agent: bool = False
    reconstruction: bool = False
    header: bool = False
    ask: bool = False
    episodes: bool = False
    zoom: float | None = None
    episode_steps: int | None = None
    trust: bool = False


def play_run(options: PlayOptions) -> str:
    """Plays with a checkpoint: in its world model with the keyboard, or else one episode of its policy.

    Returns:
      A sentence about what happened.

    Raises:
      RlsysError: no such run or checkpoint, an environment that cannot be shown, no screen to play on,
        or options that do not belong together.
    """
    prepare()
    trained = find(options.run, options.directory, trust=options.trust)
    algorithm = registry.get_algorithm(trained.loaded.experiment.algorithm, "rlsys play")
    loaded, changes = with_overrides(trained.loaded, algorithm, options.overrides, _OPTIONS)
    trained = replace(trained, loaded=loaded)
    _check(options, algorithm)
    experiment = loaded.experiment
    context = PolicyContext(experiment.section, env_spec(experiment.env), experiment.run.seed)
    check_policy(algorithm.make_policy, context, changes)
    check_outputs({"--film": options.film}, {"--record": options.record})
    if options.episodes:
        return _browse(options, trained)
    if _watches(options, algorithm):
        return _watch(options, trained, algorithm)
    return _play(options, trained, algorithm)


def _watches(options: PlayOptions, algorithm: Algorithm) -> bool:
    return options.watch or (algorithm.make_world is None and not options.no_model)


def _check(options: PlayOptions, algorithm: Algorithm) -> None:
    if options.port and not options.web:
        raise ConfigError(f"--port {options.port} without --web; only a page in the browser has a port. Add --web.")
    if options.episodes:
        _refuse(options, ("zoom",), "--episodes", "it is for playing")
        _check_screen(options)
    elif _watches(options, algorithm):
        named = "--watch" if options.watch else f"algorithm = {algorithm.name}, which has no world model"
        _refuse(options, (), named, "it is for playing in a world model, or with --no-model")
    else:
        _check_played(options, algorithm)
        _check_screen(options)


def _check_played(options: PlayOptions, algorithm: Algorithm) -> None:
    if options.video_frames is not None or options.video_seconds is not None:
        raise ConfigError("--video-frames or --video-seconds without --watch; they end the film of that. Add --watch.")
    if options.film is not None:
        raise ConfigError(
            f"--film {options.film} without --watch; played episodes are recorded in a folder. "
            "Use --record FOLDER, or --watch to film the policy."
        )
    if options.no_real and (options.no_model or options.reconstruction):
        other = "--no-model" if options.no_model else "--reconstruction"
        raise ConfigError(f"--no-real with {other}, which is about the real game. Leave one of them out.")
    if options.reconstruction and algorithm.make_world is None:
        raise ConfigError(
            f"--reconstruction with algorithm = {algorithm.name}, which has no world model. Leave it out."
        )


def _refuse(options: PlayOptions, allowed: Sequence[str], named: str, why: str) -> None:
    """Refuses options that mean nothing to what was asked for."""
    for name in ("watch", "film", *_PLAYED) if named == "--episodes" else _PLAYED:
        if name not in allowed and getattr(options, name) not in (None, False):
            raise ConfigError(f"--{name.replace('_', '-')} with {named}; {why}. Leave it out.")


def _check_screen(options: PlayOptions) -> None:
    if not (options.web or has_screen()):
        raise ConfigError("no screen: use --web, or --watch to film.")


def _browse(options: PlayOptions, trained: Trained) -> str:
    experiment = trained.loaded.experiment
    env = env_spec(experiment.env)
    replay = Replay(trained.output, env, make_keys(env), zoom=options.zoom or _ZOOM)
    return _perform(options, replay, f"{experiment.env.id}, kept episodes", trained.output / "media" / "recordings")


def _watch(options: PlayOptions, trained: Trained, algorithm: Algorithm) -> str:
    experiment = trained.loaded.experiment
    use_threads(1)  # small batches gain nothing from more
    opened = trained.open(options.checkpoint, parts=["weights"])
    seed = experiment.run.seed if options.seed is None else options.seed
    path = options.film or trained.output / "media" / "play.mp4"
    policy = _policy(algorithm, experiment, env_spec(experiment.env), weights_in(opened), seed)
    played = _title(experiment.env.id, opened.learner_step, seed, options)
    fps = options.fps or _WATCH_FPS
    try:
        with contextlib.ExitStack() as stack:
            film = stack.enter_context(Film(path, fps))
            screen = stack.enter_context(_watching_screen(options, played, fps))

            def on_frame(frame: Array) -> None:
                film.append(frame)
                if screen is not None:
                    screen.show(frame)

            limits = None if screen is not None else _limits(options, experiment.run)
            statistics = play_episodes(policy, experiment.env, 1, seed, on_frame=on_frame, limits=limits)
    except WindowClosed:
        return f"{played}: the window was closed. The film so far: {path}"
    troubles = statistics.with_troubles([film.trouble]).troubles
    shown = f"No film: {'; '.join(troubles)}." if troubles else f"Film: {path}"
    for text in statistics.shortened:
        shown += f"\n{text}. Raise --video-frames or --video-seconds to see more."
    return f"{played}: return {statistics.mean:,g} in {statistics.lengths[0]:,} decisions. {shown}"


def _limits(options: PlayOptions, run: RunConfig) -> FilmLimits:
    return FilmLimits(options.video_frames or run.video_frames, options.video_seconds or run.video_seconds)


def _play(options: PlayOptions, trained: Trained, algorithm: Algorithm) -> str:
    experiment = trained.loaded.experiment
    env = env_spec(experiment.env)
    keys = make_keys(env)
    seed = experiment.run.seed if options.seed is None else options.seed
    world, opened = _world(options, trained, algorithm)
    policy = _policy(algorithm, experiment, env, weights_in(opened), seed)
    records = options.record or trained.output / "media"
    player = Player(
        keys,
        Game(experiment.env, env, world, seed, noop=keys.noop, draws=options.reconstruction),
        None if world is None or options.no_model else ImaginedGame(world, env, seed),
        Pilot(policy),
        folder=records,
        shows_game=not options.no_real,
        reconstruction=Reconstruction(world, env) if world is not None and options.reconstruction else None,
        has_header=options.header,
        policy_plays=options.agent,
        asks=options.ask,
        zoom=options.zoom or _ZOOM,
        fps=options.fps or _PLAY_FPS,
        episode_steps=options.episode_steps,
    )
    played = _title(experiment.env.id, opened.learner_step, seed, options)
    said = _perform(options, player, played, records / "recordings")
    if not player.recorded:
        return f"{played}: nothing was {'kept' if options.ask else 'played'}{said.removeprefix(played) or '.'}"
    names = ", ".join(stem.name for stem in player.recorded)
    told = f"{played}: recorded in {records}, as .mp4 and .npz: {names}"
    return told + "".join(f". {text}" for text in player.troubles) + said.removeprefix(played)


def _world(options: PlayOptions, trained: Trained, algorithm: Algorithm) -> tuple[World | None, Opened]:
    """Returns the world model that is played in, or shows what it makes of frames, and the checkpoint."""
    if options.no_model and not options.reconstruction:
        return None, trained.open(options.checkpoint, parts=["weights"])
    assert algorithm.make_world is not None, "refused before"
    opened = trained.open_with_world(options.checkpoint)
    experiment = trained.loaded.experiment
    with opened.loading("world") as saved:
        context = WorldContext(experiment.section, env_spec(experiment.env), saved, fastest_device())
        return algorithm.make_world(context), opened


def _perform(options: PlayOptions, show: Show, title: str, folder: Path) -> str:
    """Shows it until that is ended; returns the title, and which films were made besides."""
    fps = options.fps or _PLAY_FPS
    stage = Stage(show, folder, fps)
    with _playing_screen(options, title, fps, stage.legend) as screen:
        stage.play(screen)
    films = f". Films in {folder}: {', '.join(stem.name for stem in stage.clips)}" if stage.clips else ""
    return "".join([title, films, *(f". {text}" for text in stage.troubles)])


def _title(env_id: str, learner_step: int, seed: int, options: PlayOptions) -> str:
    return ", ".join([f"{env_id} at learner step {learner_step:,}", f"seed {seed}", *options.overrides])


@contextlib.contextmanager
def _watching_screen(options: PlayOptions, title: str, fps: float) -> Iterator[Screen | None]:
    """Opens what is asked for, or a window where there is a screen, or nothing."""
    if options.web:
        with _page(options, title, fps, _QUIT) as page:
            yield page
    elif has_screen():
        with Window(title, fps) as window:
            yield window
    else:
        yield None


@contextlib.contextmanager
def _playing_screen(options: PlayOptions, title: str, fps: float, legend: Legend) -> Iterator[Screen]:
    if options.web:
        with _page(options, title, fps, legend) as page:
            yield page
    else:
        with Window(title, fps, legend, smallest_side=1) as window:
            yield window


@contextlib.contextmanager
def _page(options: PlayOptions, title: str, fps: float, legend: Legend) -> Iterator[Browser]:
    with Browser(title, fps=fps, legend=legend, port=options.port) as browser:
        sys.stdout.write(f"Open {browser.url}\n")
        sys.stdout.flush()
        yield browser


def _policy(algorithm: Algorithm, experiment: Experiment, env: EnvSpec, weights: Weights, seed: int) -> Policy:
    policy = algorithm.make_policy(PolicyContext(experiment.section, env, seed))
    give_weights(policy, weights)
    return policy
