"""Watching a trained policy: one greedy episode, filmed and, where there is a screen, shown. `rlsys play` does this."""

import contextlib
from pathlib import Path

from rlsys import registry
from rlsys.api import Policy, PolicyContext
from rlsys.config import Experiment
from rlsys.envs.make import spec
from rlsys.runtime.episodes import play_episodes
from rlsys.runtime.exports.find import find, give_weights
from rlsys.runtime.process import prepare, use_threads
from rlsys.types import Array, Weights
from rlsys.viewer.film import Film
from rlsys.viewer.window import Window, WindowClosed, has_screen


def play_run(run: str, *, checkpoint: str = "latest", seed: int | None = None, film: Path | None = None) -> str:
    """Plays one episode with the weights of a checkpoint.

    Args:
      run: a run or an export, as in `rlsys eval`.
      checkpoint: "latest", "best" or a learner step.
      seed: of the episode; the run's own by default.
      film: an .mp4 or .gif file; by default media/play.mp4 in the run's folder.

    Returns:
      A sentence about what happened.

    Raises:
      RlsysError: no such run or checkpoint, or an environment that cannot be drawn.
    """
    prepare()
    use_threads(1)  # small batches gain nothing from more
    trained = find(run)
    experiment = trained.loaded.experiment
    registry.get_algorithm(experiment.algorithm, "rlsys play")
    opened = trained.open(checkpoint, parts=["weights"])
    seed = experiment.run.seed if seed is None else seed
    path = film or trained.output / "media" / "play.mp4"
    policy = _policy(experiment, Weights(**opened.read("weights")), seed)
    played = f"{experiment.env.id} at learner step {opened.learner_step:,}, seed {seed}"
    try:
        with contextlib.ExitStack() as stack:
            shows = [stack.enter_context(Film(path)).append]
            if has_screen():
                shows.append(stack.enter_context(Window(played)).show)

            def on_frame(frame: Array) -> None:
                for show in shows:
                    show(frame)

            statistics = play_episodes(policy, experiment.env, 1, seed, on_frame=on_frame)
    except WindowClosed:
        return f"{played}: the window was closed. The film so far: {path}"
    return f"{played}: return {statistics.mean:,g} in {statistics.lengths[0]:,} decisions. Film: {path}"


def _policy(experiment: Experiment, weights: Weights, seed: int) -> Policy:
    context = PolicyContext(experiment.section, spec(experiment.env), seed)
    policy = registry.get_algorithm(experiment.algorithm, "rlsys play").make_policy(context)
    give_weights(policy, weights)
    return policy
