"""The command that looks at the machine and what is installed on it."""

from typing import Annotated

import typer


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
