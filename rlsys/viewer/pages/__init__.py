"""Pages for the browser, each of them one file without anything from outside.

play.html    what `rlsys play --web` serves: pictures come from there, keys go there
dream.html   what `rlsys export --format web` writes: a world model that runs in the page itself
             common.css, common.js: what both have; actions.js: keys as actions; dream.js: the steps
"""

import re
from pathlib import Path

_FOLDER = Path(__file__).parent
_INCLUDE = re.compile(r"INCLUDE\((\w+\.\w+)\)\n")


def read_page(name: str) -> str:
    """Returns a page with all that it includes."""
    return _INCLUDE.sub(lambda found: _read(found[1]), _read(name))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
