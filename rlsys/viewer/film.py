"""Films of episodes: frames go to ffmpeg one by one, so that a long game costs no memory."""

import warnings
from collections.abc import Generator, Iterable
from pathlib import Path
from types import ModuleType, TracebackType

import numpy as np

from rlsys.errors import ConfigError
from rlsys.types import Array

_SMALLEST_SIDE = 320
_EVEN_SIDES = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
_PALETTE_PER_FRAME = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"


def encoder_program() -> str:
    """Returns the path of the ffmpeg that encodes films.

    Raises:
      RuntimeError: there is none.
    """
    return str(_ffmpeg().get_ffmpeg_exe())


class Film:
    """Writes RGB frames to a .gif or .mp4 file; a context that ends the file.

    GIFs keep every colour of frames with at most 256. Frames smaller than 320 pixels are enlarged by a whole factor
    without smoothing. Nothing is written until the first frame comes.

    Attributes:
      path: the file.
      num_frames: frames so far.

    Raises:
      ConfigError: the file's name ends in neither .gif nor .mp4.
    """

    def __init__(self, path: Path, fps: float = 30.0) -> None:
        if path.suffix not in (".gif", ".mp4"):
            raise ConfigError(f"film '{path}' ends in '{path.suffix}'; films are .gif or .mp4. Choose one of these.")
        self.path = path
        self.num_frames = 0
        self._fps = fps
        self._shape: tuple[int, ...] = ()
        self._encoder: Generator[None, Array | None, None] | None = None

    def append(self, frame: Array) -> None:
        """Adds a frame, `[H, W, 3]` uint8; all frames of a film have one size."""
        if self._encoder is None:
            self._shape = frame.shape
            self._encoder = self._open()
            self._encoder.send(None)
        assert frame.shape == self._shape and frame.dtype == np.uint8, (frame.shape, frame.dtype, self._shape)
        self._encoder.send(np.ascontiguousarray(frame))
        self.num_frames += 1

    def close(self) -> None:
        """Ends the file."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Generator[None, Array | None, None]:
        height, width, channels = self._shape
        assert channels == 3, self._shape
        factor = max(1, -(-_SMALLEST_SIDE // min(height, width)))
        enlarge = f"scale=iw*{factor}:ih*{factor}:flags=neighbor"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        form: dict[str, str | int | None]
        if self.path.suffix == ".gif":
            form = {"codec": "gif", "pix_fmt_out": "pal8", "quality": None}
            output = ["-vf", f"{enlarge},{_PALETTE_PER_FRAME}", "-loop", "0"]
        else:
            form = {"codec": "libx264", "pix_fmt_out": "yuv420p", "quality": 7}
            output = ["-vf", f"{enlarge},{_EVEN_SIDES}"]
        encoder: Generator[None, Array | None, None] = _ffmpeg().write_frames(
            str(self.path),
            (width, height),
            fps=self._fps,
            macro_block_size=1,
            ffmpeg_log_level="error",
            output_params=output,
            **form,
        )
        return encoder


def _ffmpeg() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the old version that ProcGen pins warns about its own imports
        import imageio_ffmpeg  # type: ignore[import-untyped]  # noqa: PLC0415 - every process would pay, few need it
    return imageio_ffmpeg  # type: ignore[no-any-return]


def write_film(path: Path, frames: Iterable[Array], fps: float = 30.0) -> int:
    """Writes frames to a .gif or .mp4 file; returns how many there were."""
    with Film(path, fps) as film:
        for frame in frames:
            film.append(frame)
    return film.num_frames
