"""The command line: `rlsys launch | plan | status | top | attach | stop | scale | list | show | eval | play | …`.

What is heavy (pydantic, numpy, torch, ray, wandb) is imported inside the chosen command, so that help is instant.
"""

import io
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from rlsys import __version__
from rlsys.errors import ConfigError, RlsysError, did_you_mean
from rlsys.redaction import redact


class _Command(typer.core.TyperCommand):
    """A command whose options are given at most once, but for those that take several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuses an option that is given again: one of its values would be lost."""
        order = self.make_parser(ctx).parse_args(args=list(args))[2]
        for option in {id(found): found for found in order}.values():
            times = sum(found is option for found in order)
            takes_one = isinstance(option, typer.core.TyperOption) and not (option.multiple or option.is_flag)
            if times > 1 and takes_one:
                raise ConfigError(f"{option.opts[0]} is given {times} times; it takes one value. Leave one.")
        return super().parse_args(ctx, args)


class _App(typer.Typer):
    """Commands of that kind."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Registers a command."""
        return super().command(name, cls=_Command, **options)


app = _App(
    help="Distributed actor-learner reinforcement learning on Ray and PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_BOARDS = ("grafana", "wandb")

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings on top, such as run.seed=1 or debug=true.", show_default=False
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        help="How many workers: a file in launch/, over the experiment; without it laptop is beneath.",
        show_default=False,
    ),
]
Run = Annotated[str, typer.Argument(help="A run's folder, <experiment>/<run-id>, or an experiment for its latest run.")]

Trained = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, <experiment>/<run-id> or experiment; or an export: folder, .zip, URI or shipped name.",
    ),
]

Trust = Annotated[
    bool, typer.Option("--trust", help="Let an export import the module that its environment comes from.")
]


class Agent(StrEnum):
    """Who plays in an evaluation."""

    policy = "policy"
    planner = "planner"
    random = "random"


Directory = Annotated[Path, typer.Option(help="Where runs lie: their run.directory.")]


def main() -> NoReturn:
    """Runs the command line. Exit status 0: done; 2: the user has to correct something; 130: interrupted."""
    arguments = sys.argv[1:]
    sys.argv[1:] = map(redact, arguments)  # which trackers write down
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without "×" must not end a training run
    try:
        app([_at_home(_as_utf_8(word)) for word in arguments], prog_name="rlsys")
    except RlsysError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _as_utf_8(word: str) -> str:
    """Returns an argument as the text that its bytes are, in a locale that cannot read them, too."""
    if not any("\ud800" <= letter <= "\udfff" for letter in word):
        return word
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeError:
        raise ConfigError(f"{ascii(word)[:200]} on the command line is not valid UTF-8. Write it as that.") from None


def _at_home(word: str) -> str:
    """Returns an argument with the user's folder in place of `~`, which a shell leaves in --gif=~/a.gif."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    if not value.startswith("~"):
        return word
    try:
        return f"{option}{equals}{Path(value).expanduser()}"
    except RuntimeError:  # nobody's: there is no such folder
        return word


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rlsys {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def launch(
    name: Annotated[
        str | None, typer.Argument(help="An experiment: a name from 'rlsys list', or a YAML file.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    *,
    profile: Profile = None,
    inline: Annotated[bool, typer.Option("--inline", help="Run in one process: deterministic, no Ray.")] = False,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run; NAME is not needed then.", show_default=False)
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="With --resume: a learner step, best or latest; later checkpoints are given up.",
            show_default="latest",
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.", show_default=False)] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join: 'auto' or host:port. None starts one here.", show_default=False),
    ] = None,
    directory: Directory = Path("runs"),
    submit: Annotated[
        bool, typer.Option("--submit", help="Hand it to the cluster as a job, which goes on without this terminal.")
    ] = False,
) -> None:
    """Train an experiment, or go on with a run."""
    from rlsys import config

    name, given = _split_name(name, overrides)
    resume = None if resume is None else _below(directory, resume)
    given += [f"run.minutes={minutes}"] if minutes is not None else []
    given += [f"runtime.address={address}"] if address is not None else []
    if resume is not None and profile is not None:
        raise ConfigError(
            f"--profile {profile} with --resume {resume}; a resumed run keeps its workers. "
            "Leave --profile out, or set single values such as runtime.rollout_workers=8."
        )
    if checkpoint is not None and resume is None:
        raise ConfigError(
            f"--checkpoint {checkpoint} without --resume; a new run begins with none. Name the run with --resume RUN, "
            f"or begin from its weights with run.init_from=RUN#{checkpoint}."
        )
    if name is None and resume is None:
        raise ConfigError("no experiment; name one, or a run with --resume RUN. 'rlsys list' shows all experiments.")
    if submit and checkpoint is not None:
        raise ConfigError(
            f"--submit with --checkpoint {checkpoint}; a job goes on from the newest. Resume on the head itself."
        )
    if submit and inline:
        raise ConfigError("--submit with --inline; a job trains on a cluster. Leave one of them out.")
    loaded = config.load(name, profile, given) if name is not None else None
    if submit:
        from rlsys.runtime.cluster.submit import Order
        from rlsys.runtime.cluster.submit import submit as hand_over

        typer.echo(hand_over(Order(name, profile, resume, given), loaded))
        raise typer.Exit

    from rlsys.runtime.launch.launch import launch as run

    raise typer.Exit(run(loaded, inline=inline, resume=resume, checkpoint=checkpoint or "latest", overrides=given))


@app.command()
def plan(
    name: Annotated[str, typer.Argument(help="An experiment: a name from 'rlsys list', or a YAML file.")],
    overrides: Overrides = None,
    *,
    profile: Profile = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to look at: 'auto' or host:port.", show_default=False)
    ] = None,
    machines: Annotated[
        Path | None, typer.Option(help="A file in cluster/, for the machines it would start.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long to measure what an update costs.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Predict a run's memory, traffic and rates, say which part binds, and refuse what cannot fit."""
    from rlsys import config
    from rlsys.forecast.outlook import show_outlook

    if machines is not None and address is not None:
        raise ConfigError(f"--machines {machines} with --address {address}; a run is on one or the other. Give one.")
    given = list(overrides or ())
    if address is not None or not any(text.startswith("runtime.address=") for text in given):
        given.append(f"runtime.address={address or 'null'}")  # a profile's cluster is not joined to plan
    loaded = config.load(name, profile, given)
    show_outlook(loaded, machines, seconds, as_json=as_json)


@app.command()
def status(
    run: Annotated[
        str | None, typer.Argument(help="A run as for 'rlsys eval'; all runs if not given.", show_default=False)
    ] = None,
    *,
    directory: Directory = Path("runs"),
) -> None:
    """Show how runs stand: which train, which ended and why, which are lost."""
    from rlsys.commands.follow import show_run, show_runs

    if run is None:
        show_runs(directory)
    else:
        show_run(run, directory)


@app.command()
def top(
    run: Run,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once, as for scripts and pipes.")] = False,
    directory: Directory = Path("runs"),
) -> None:
    """Show a run's processes: what they cost, do and wait for, and what binds the run; Ctrl-C leaves it alone."""
    from rlsys.commands.top import show_top

    show_top(run, directory, once=once)


@app.command()
def attach(run: Run, *, directory: Directory = Path("runs")) -> None:
    """Follow a run that trains elsewhere, as on its own terminal; Ctrl-C leaves it alone."""
    from rlsys.commands.follow import attach_to

    typer.echo(attach_to(run, directory))


@app.command()
def stop(run: Run, *, directory: Directory = Path("runs")) -> None:
    """End a run with a checkpoint, and wait until it has."""
    from rlsys.commands.follow import stop_run

    typer.echo(stop_run(run, directory))


@app.command()
def scale(
    run: Run,
    workers: Annotated[list[str], typer.Argument(metavar="rollouts=N", help="How many rollout workers it shall have.")],
    *,
    directory: Directory = Path("runs"),
) -> None:
    """Give a run that trains more or fewer rollout workers; the samples-per-insert ratio holds."""
    from rlsys.commands.follow import scale_run

    typer.echo(scale_run(run, directory, workers))


@app.command("list")
def list_all() -> None:
    """List experiments, profiles, algorithms, and trained exports that ship with the package."""
    from rlsys.commands import catalogue
    from rlsys.exports.shipped import rows as shipped_rows
    from rlsys.terminal import print_table

    print_table("Experiments", ("name", "algorithm", "environment", "about"), catalogue.experiments())
    print_table("Profiles (--profile)", ("name", "about"), catalogue.profiles())
    print_table("Algorithms", ("name", "about"), catalogue.algorithms())
    if shipped := shipped_rows():
        print_table("Trained (rlsys play NAME)", ("name", "algorithm", "environment", "about"), shipped)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="An experiment: a name from 'rlsys list', or a YAML file.")],
    overrides: Overrides = None,
    *,
    profile: Profile = None,
    section: Annotated[str, typer.Option(help="Only what begins so, such as run or muzero.", show_default=False)] = "",
) -> None:
    """Show every setting of an experiment: value, who set it, default and meaning."""
    from rlsys import config
    from rlsys.quoting import quoted
    from rlsys.terminal import as_text, print_table

    loaded = config.load(name, profile, overrides or ())
    rows = [
        (field.path, as_text(field.value), field.layer, as_text(field.default), field.meaning)
        for field in config.describe(loaded)
        if field.path.startswith(section)
    ]
    if not rows:
        raise ConfigError(f"no setting of '{name}' begins with '{section}'. {quoted('show', name)} shows all.")
    print_table(f"{loaded.name}, profile {loaded.profile}", ("key", "value", "set by", "default", "meaning"), rows)


@app.command("eval")
def evaluate(
    run: Trained,
    *,
    directory: Directory = Path("runs"),
    episodes: Annotated[int, typer.Option(min=1, help="Episodes per row, each on its own seed.")] = 10,
    temperature: Annotated[
        list[float] | None,
        typer.Option(min=0.0, help="0 is greedy; may be given several times.", show_default="the run's"),
    ] = None,
    noops: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            help="Atari: begin with no-ops for 0 to N decisions; may be given several times.",
            show_default="the run's",
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Decisions after which an episode is cut.", show_default="none")
    ] = None,
    agent: Annotated[
        Agent, typer.Option(help="Random acts uniformly, as a baseline; planner looks ahead in the world model.")
    ] = Agent.policy,
    rollouts: Annotated[
        int | None, typer.Option(min=1, help="Planner: rollouts for each decision.", show_default="64")
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Planner: steps of each.", show_default="16")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first episode.", show_default="the run's")] = None,
    checkpoint: Annotated[str, typer.Option(help="A learner step, best or latest.")] = "latest",
    all_checkpoints: Annotated[
        bool, typer.Option("--all-checkpoints", help="Every checkpoint that the run has kept, each in its own rows.")
    ] = False,
    num_simulations: Annotated[
        int | None, typer.Option(min=1, help="Simulations per search.", show_default="the run's")
    ] = None,
    only_prior: Annotated[
        bool, typer.Option("--only-prior", help="Act by the policy network, without search.")
    ] = False,
    only_value: Annotated[
        bool, typer.Option("--only-value", help="Act by reward and value one step ahead, without search.")
    ] = False,
    noise: Annotated[bool, typer.Option("--noise", help="Exploration noise at the root.")] = False,
    apply_mcts_steps: Annotated[int, typer.Option(min=1, help="Actions taken from one search.")] = 1,
    gif: Annotated[Path | None, typer.Option(help="Write the first episode as a GIF.", show_default=False)] = None,
    video: Annotated[Path | None, typer.Option(help="Write the first episode as an MP4.", show_default=False)] = None,
    films: Annotated[
        int, typer.Option(min=0, help="Film so many episodes of each row, below a header with their rewards.")
    ] = 0,
    film_folder: Annotated[Path | None, typer.Option(help="Where --films go.", show_default="<run>/media")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot returns, values and search depth over time.", show_default=False)
    ] = None,
    save_mcts: Annotated[
        Path | None, typer.Option(help="Folder for a picture of the search tree of each move.", show_default=False)
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Processes among which the episodes are divided.")] = 1,
    trust: Trust = False,
) -> None:
    """Play episodes with a trained policy, a row per choice: mean, median and bootstrap interval of the return."""
    from rlsys.evaluation.planning_policy import planning_of
    from rlsys.evaluation.run import EvaluationOptions, evaluate_run

    options = EvaluationOptions(
        run=_below(directory, run),
        episodes=episodes,
        temperatures=tuple(temperature or ()),
        noops=tuple(noops or ()),
        max_steps=max_steps,
        agent=agent.value,
        planning=planning_of(rollouts, horizon),
        seed=seed,
        checkpoint=checkpoint,
        all_checkpoints=all_checkpoints,
        num_simulations=num_simulations,
        only_prior=only_prior,
        only_value=only_value,
        noise=noise,
        apply_mcts_steps=apply_mcts_steps,
        gif=gif,
        video=video,
        films=films,
        film_folder=film_folder,
        plot=plot,
        save_mcts=save_mcts,
        parallel=parallel,
        trust=trust,
    )
    raise typer.Exit(evaluate_run(options))


@app.command()
def play(
    run: Trained,
    *,
    directory: Directory = Path("runs"),
    checkpoint: Annotated[str, typer.Option(help="A learner step, best or latest.")] = "latest",
    seed: Annotated[int | None, typer.Option(help="Seed of the episodes.", show_default="the run's")] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Watch one episode of the policy, also where there is a world model."),
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="In this machine's browser; elsewhere: ssh -L PORT:127.0.0.1:PORT.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="--web: its port; 0 for a free one.")] = 0,
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Pictures per second.", show_default="20, watching 30")
    ] = None,
    film: Annotated[
        Path | None,
        typer.Option(help="Watching: where to write it (.mp4 or .gif).", show_default="<run>/media/play.mp4"),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Playing: folder for films and arrays.", show_default="<run>/media")
    ] = None,
    no_real: Annotated[
        bool, typer.Option("--no-real", help="Playing: in the model alone, without the real game.")
    ] = False,
    zoom: Annotated[
        float | None, typer.Option(min=1.0, max=50.0, help="Playing: enlarges frames.", show_default="4")
    ] = None,
    episode_steps: Annotated[
        int | None, typer.Option(min=1, help="Playing: most steps of an episode.", show_default=False)
    ] = None,
    trust: Trust = False,
) -> None:
    """Play in a run's world model, beside the real game; of runs without one, film an episode of the policy."""
    from rlsys.commands.play import PlayOptions, play_run

    options = PlayOptions(
        run=_below(directory, run),
        checkpoint=checkpoint,
        seed=seed,
        watch=watch,
        web=web,
        port=port,
        fps=fps,
        film=film,
        record=record,
        no_real=no_real,
        zoom=zoom,
        episode_steps=episode_steps,
        trust=trust,
    )
    typer.echo(play_run(options))


@app.command()
def export(
    run: Trained,
    *,
    directory: Directory = Path("runs"),
    to: Annotated[Path, typer.Option(help="A folder, or a .zip file, that does not exist yet.")],
    checkpoint: Annotated[str, typer.Option(help="A learner step, best or latest.")] = "latest",
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits, rounded.")] = False,
    trust: Trust = False,
) -> None:
    """Write what play and eval need of a run: its configuration and weights, without optimizer and replay."""
    from rlsys.exports.export import export_run

    typer.echo(export_run(_below(directory, run), to, checkpoint=checkpoint, half=half, trust=trust))


@app.command()
def dashboard(
    kind: Annotated[str, typer.Argument(metavar="grafana|wandb", help="For whom.")],
    *,
    entity: Annotated[str, typer.Option(help="W&B: the user or team.", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="W&B: the runs' run.wandb_project.")] = "rlsys",
) -> None:
    """Print the dashboard for Grafana as JSON, or save it as a view of a Weights & Biases project."""
    from rlsys.metrics import dashboard as layout

    if kind == "grafana":
        typer.echo(layout.grafana_json())
    elif kind == "wandb" and entity:
        typer.echo(layout.save_to_wandb(entity, project))
    elif kind == "wandb":
        raise ConfigError("dashboard wandb without --entity; it must name the user or team that has the project.")
    else:
        raise ConfigError(f"dashboard {kind}; it can be made for grafana and for wandb.{did_you_mean(kind, _BOARDS)}")


@app.command()
def doctor(
    full: Annotated[bool, typer.Option("--full", help="Also start Ray with one actor (half a minute).")] = False,
) -> None:
    """Check what is installed, what works, and say what to do about the rest."""
    from rlsys.commands.doctor import examine, worst
    from rlsys.terminal import print_table

    findings = examine(full=full)
    rows = [(finding.verdict, finding.subject, finding.found, finding.advice) for finding in findings]
    print_table("rlsys doctor", ("", "what", "found", "what to do"), rows)
    raise typer.Exit(1 if worst(findings) == "fail" else 0)


def _split_name(name: str | None, overrides: list[str] | None) -> tuple[str | None, list[str]]:
    """Takes NAME for an override where it has the form of one: NAME may be left out with --resume."""
    given = list(overrides or ())
    return (None, [name, *given]) if name is not None and "=" in name else (name, given)


def _below(directory: Path, run: str) -> str:
    """Names a run below another directory than that of runs so that it is found from here."""
    if directory == Path("runs") or "://" in run or Path(run).exists():
        return run
    from rlsys.runs.folder import find

    return str(find(run, str(directory)))
