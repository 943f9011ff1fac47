"""All commands as one application, and what it does with the words that it is given."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from rlsys import __version__
from rlsys.cli import evaluating, experiments, installation, launching, matches, results, runs, trained
from rlsys.errors import ConfigError, RlsysError
from rlsys.redaction import redact

_COMMANDS: dict[str, Callable[..., None]] = {
    "launch": launching.launch,
    "plan": experiments.plan,
    "status": runs.status,
    "top": runs.top,
    "attach": runs.attach,
    "stop": runs.stop,
    "scale": runs.scale,
    "list": experiments.list_all,
    "show": experiments.show,
    "eval": evaluating.evaluate,
    "elo": matches.elo,
    "play": trained.play,
    "export": trained.export,
    "scores": results.scores,
    "histograms": results.histograms,
    "latents": results.latents,
    "dashboard": runs.dashboard,
    "doctor": installation.doctor,
}
"""In the order of the help."""


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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rlsys {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def _make_app() -> typer.Typer:
    made = typer.Typer(
        help="Distributed actor-learner reinforcement learning on Ray and PyTorch.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    made.callback()(_options)
    for name, command in _COMMANDS.items():
        made.command(name, cls=_Command)(command)
    return made


app = _make_app()


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
