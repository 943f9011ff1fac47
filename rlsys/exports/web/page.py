"""The page: graphs, weights, beginnings and the runtime in one file, which needs no server and fetches nothing."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rlsys.api import WorldState
from rlsys.exports.web import runtime
from rlsys.exports.web.graphs import WEIGHTS, Steps
from rlsys.types import EnvSpec
from rlsys.viewer.pages import read_page
from rlsys.viewer.playing.keys import make_keys
from rlsys.viewer.screen import Legend

_COMMANDS: Legend = (
    ("C", "wait for keys / real time"),
    ("N", "let a step pass while it waits"),
    ("X", "begin this dream anew"),
    ("R", "another beginning"),
)
_FPS = 20.0
_PLACE = "PARTS\n"


@dataclass(frozen=True)
class Start:
    """A beginning.

    Attributes:
      state: of one copy.
      picture: what is seen there, `[1, H, W]` or `[1, C, H, W]` uint8.
    """

    state: WorldState
    picture: Tensor


def make_page(title: str, env: EnvSpec, steps: Steps, starts: Sequence[Start], files: Mapping[str, bytes]) -> str:
    """Returns the page as HTML.

    Args:
      title: its heading.
      env: the environment whose keys it takes.
      steps: of the world.
      starts: at least one.
      files: the runtime's.
    """
    content = bytearray()
    placed = [
        {"state": {name: _placed(part, content) for name, part in start.state.items()}}
        | {"picture": _placed(start.picture, content)}
        for start in starts
    ]
    keys = make_keys(env)
    about = {
        "title": title,
        "fps": _FPS,
        "legend": [*keys.legend, *_COMMANDS],
        "keys": keys.table(),
        "action": [1, *env.action.shape],
        "draws": [asdict(draw) for draw in steps.draws],
        "counted": steps.counted,
        "most": steps.most,
        "weights": WEIGHTS,
        "starts": placed,
    }
    parts = {"starts": bytes(content), "weights": steps.weights, "step": steps.step}
    if steps.renew is not None:
        parts["renew"] = steps.renew
    parts |= {"runtime-wasm": files[runtime.BINARY], "runtime-loader": files[runtime.LOADER]}
    blocks = [_block("world", "application/json", json.dumps(about).replace("<", "\\u003c"))]
    blocks += [_block(name, "application/octet-stream", _packed(part)) for name, part in parts.items()]
    blocks += [f"<script>\n{files[runtime.SCRIPT].decode()}\n</script>\n"]
    return read_page("dream.html").replace(_PLACE, "".join(blocks))


def _placed(part: Tensor, content: bytearray) -> dict[str, Any]:
    """Puts a tensor's numbers behind those of others; returns where, and what they are."""
    array = np.ascontiguousarray(part.cpu().numpy())
    place = {"type": array.dtype.name, "shape": list(array.shape), "offset": len(content), "size": array.nbytes}
    content += array.tobytes()
    return place


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _block(name: str, kind: str, text: str) -> str:
    return f'<script id="{name}" type="{kind}">{text}</script>\n'
