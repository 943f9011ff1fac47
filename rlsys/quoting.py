"""Commands of ours as they are printed: pasted into the same shell, in the same folder, they work.

Whatever tells the user to type `rlsys …` has it from here, so that a run that lies elsewhere, or whose name has a blank
in it, is named as the command line can find it.
"""

import shlex
from pathlib import Path


def run_name(folder: Path) -> str:
    """Returns what RUN must be for a run: `<experiment>/<run-id>` where that is enough, else its folder.

    Args:
      folder: of the run, absolute.
    """
    name = Path(folder.parent.name, folder.name)
    is_short = folder == Path("runs").absolute() / name and not name.exists() and not str(name).startswith(("-", "~"))
    return str(name) if is_short else str(folder)


def command(*words: str | Path) -> str:
    """Returns `rlsys` with words as a shell takes them."""
    return shlex.join(["rlsys", *map(str, words)])


def quoted(*words: str | Path) -> str:
    """Returns a command within a sentence, in quotes that are not its own."""
    text = command(*words)
    mark = "`" if "'" in text else "'"
    return f"{mark}{text}{mark}"


def resume(folder: Path, *options: str) -> str:
    """Returns the command that goes on with a run."""
    return command("launch", "--resume", run_name(folder), *options)
