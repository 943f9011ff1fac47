"""Commands for experiments: what there is, how it is set, and what it takes to train it."""

from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.arguments import Name, Overrides, Profile
from rlsys.errors import ConfigError


def plan(
    name: Name,
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


def list_all(
    *,
    envs: Annotated[
        bool, typer.Option("--envs", help="List families of environments, and the settings of each.")
    ] = False,
) -> None:
    """List experiments, profiles, algorithms, and trained exports that ship with the package."""
    from rlsys.commands import catalogue
    from rlsys.exports.shipped import rows as shipped_rows
    from rlsys.terminal import print_table

    if envs:
        print_table(
            "Environments (env.id=ID)", ("family", "ids", "settings of its own", "missing"), catalogue.environments()
        )
        return
    print_table("Experiments", ("name", "algorithm", "environment", "about"), catalogue.experiments())
    print_table("Profiles (--profile)", ("name", "about"), catalogue.profiles())
    print_table("Algorithms", ("name", "about"), catalogue.algorithms())
    if shipped := shipped_rows():
        print_table("Trained (rlsys play NAME)", ("name", "algorithm", "environment", "about"), shipped)


def show(
    name: Name,
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
