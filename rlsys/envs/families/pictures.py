"""gymnasium's environments by what they draw: pictures in place of what they observe, or beside it.

MuJoCo draws at the size that is seen, as it does for dm_control; what others draw is shrunk (area interpolation).
"""

from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from rlsys.envs import offscreen
from rlsys.envs.offscreen import Drawing
from rlsys.envs.wrappers import Layer, Reset, Step
from rlsys.errors import EnvError
from rlsys.types import Array

_STATE, _PIXELS = "state", "pixels"
_DRAWN = "rgb_array"


class Pictures(Layer):
    """Observes what an environment draws, `[3, H, W]` uint8: alone, or as "pixels" beside its own parts or "state"."""

    def __init__(self, env: gymnasium.Env, size: tuple[int, int], *, alone: bool) -> None:
        """Wraps an environment.

        Args:
          env: draws "rgb_array", and has been reset.
          size: height and width of what is seen.
          alone: whether nothing else is seen.

        Raises:
          EnvError: it does not draw. One picture is drawn at once: what is missing is told before anything starts.
        """
        super().__init__(env)
        self._size = size
        self._alone = alone
        picture, own = Box(0, 255, (3, *size), np.uint8), env.observation_space
        parts = own.spaces.items() if isinstance(own, Dict) else [(_STATE, own)]
        self.observation_space = picture if alone else Dict([*parts, (_PIXELS, picture)])
        self._picture()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._seen(observation), info

    def step(self, action: Any) -> Step:
        """Steps."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._seen(observation), reward, terminated, truncated, info

    def _seen(self, observation: Any) -> Any:
        picture = np.ascontiguousarray(self._picture().transpose(2, 0, 1))
        if self._alone:
            return picture
        return {**(observation if isinstance(observation, dict) else {_STATE: observation}), _PIXELS: picture}

    def _picture(self) -> Array:
        """Draws what is seen, `[H, W, 3]`."""
        drawn: Any = self.env.render()
        if not (isinstance(drawn, np.ndarray) and drawn.dtype == np.uint8 and drawn.shape[2:] == (3,)):
            raise EnvError(
                f"env.observation shows pictures, and {self.env.unwrapped} draws none: `render` returns "
                f"{getattr(drawn, 'dtype', type(drawn).__name__)} of shape {np.shape(drawn)}, not uint8 [H, W, 3]. Set "
                "env.observation=state."
            )
        height, width = self._size
        return np.asarray(cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA))


class MujocoPictures(Pictures):
    """Of an environment that MuJoCo draws: what the camera sees that gymnasium looks through.

    gymnasium's renderers draw with whichever OpenGL context was current last; each of these makes its own so before.
    """

    def __init__(self, env: gymnasium.Env, size: tuple[int, int], *, alone: bool, drawing: Drawing = "full") -> None:
        self._drawing = drawing
        self._renderers: dict[tuple[int, int], Any] = {}
        super().__init__(env, size, alone=alone)

    def render(self) -> Any:
        """Draws it at the size that gymnasium would, `[H, W, 3]`."""
        game: Any = self.env.unwrapped
        return self._drawn((game.height, game.width))

    def close(self) -> None:
        """Frees the environment, and what draws it."""
        for renderer in self._renderers.values():
            renderer.close()
        super().close()  # type: ignore[no-untyped-call]

    def _picture(self) -> Array:
        return self._drawn(self._size)

    def _drawn(self, size: tuple[int, int]) -> Array:
        if size not in self._renderers:
            self._renderers[size] = self._renderer(*size)
        renderer = self._renderers[size]
        renderer.viewer.make_context_current()
        return np.ascontiguousarray(renderer.render(_DRAWN))

    def _renderer(self, height: int, width: int) -> Any:
        """Makes a renderer, whose OpenGL context is as large as the model then says."""
        import mujoco  # noqa: PLC0415 - optional
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer  # noqa: PLC0415 - optional

        game: Any = self.env.unwrapped
        theirs, largest = game.mujoco_renderer, game.model.vis.global_
        largest.offheight, largest.offwidth = height, width
        offscreen.simplify(game.model, self._drawing)
        renderer: Any = MujocoRenderer(
            game.model,
            game.data,
            theirs.default_cam_config,
            width=width,
            height=height,
            max_geom=theirs.max_geom,
            camera_id=theirs.camera_id,
            visual_options=theirs._vopt,
        )
        renderer._get_viewer(_DRAWN)  # begins the context
        for flag, value in offscreen.scene_flags(self._drawing).items():
            renderer.viewer.scn.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag.upper()}")] = value
        return renderer
