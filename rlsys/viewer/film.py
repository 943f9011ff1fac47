"""Films of episodes: frames go to ffmpeg one by one, so that a long game costs no memory."""

import contextlib
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from rlsys.errors import ConfigError, EnvError
from rlsys.types import Array
from rlsys.viewer.picture import fitted, to_picture

_SMALLEST_SIDE, _LARGEST_SIDE = 320, 4096
_EVEN_SIDES = "pad=ceil(iw/2)*2:ceil(ih/2)*2"
_PALETTE_PER_FRAME = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"
_FORMS = {
    ".gif": (_PALETTE_PER_FRAME, ["-codec:v", "gif", "-pix_fmt", "pal8", "-loop", "0"]),
    ".mp4": (_EVEN_SIDES, ["-codec:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "15"]),
}
"""Ending -> how pictures are changed, and how they are encoded."""


def encoder_program() -> str:
    """Returns the path of the ffmpeg that encodes films.

    Raises:
      RuntimeError: there is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the old version that ProcGen pins warns about its own imports
        import imageio_ffmpeg  # type: ignore[import-untyped]  # noqa: PLC0415 - every process would pay, few need it
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@dataclass(frozen=True)
class FilmLimits:
    """After how much a film ends, whatever is still to be seen.

    Attributes:
      frames: pictures.
      seconds: of drawing them: without a GPU, one of a simulated body takes a tenth of a second.
      is_hurried: asked before each picture; True ends the film.
    """

    frames: int
    seconds: float
    is_hurried: Callable[[], bool] | None = None


class Footage:
    """What there is of a film, against its limits.

    Attributes:
      num_frames: pictures so far.
      seconds: that they took.
      cut_by: the limit that ended it, as a setting, or "interrupted"; empty while it goes on, and where it was whole.
    """

    def __init__(self, limits: FilmLimits | None = None) -> None:
        """Begins a film; None is one without limits."""
        self.num_frames = 0
        self.seconds = 0.0
        self.cut_by = ""
        self._limits = limits

    def wants_more(self) -> bool:
        """Returns whether there may be one more picture; asked while there is more to be seen."""
        limits = self._limits
        if limits is not None and not self.cut_by:
            if limits.is_hurried is not None and limits.is_hurried():
                self.cut_by = "interrupted"
            elif self.num_frames >= limits.frames:
                self.cut_by = f"video_frames = {limits.frames}"
            elif self.seconds >= limits.seconds:
                self.cut_by = f"video_seconds = {limits.seconds:g}"
        return not self.cut_by

    @contextlib.contextmanager
    def picture(self) -> Iterator[None]:
        """Counts a picture that is made inside, and its time."""
        begun = time.perf_counter()
        yield
        self.num_frames += 1
        self.seconds += time.perf_counter() - begun


class Film:
    """Writes pictures to a .gif or .mp4 file; a context that ends the file.

    What goes wrong never ends what is filmed: from then on there is no film, its file is gone, and `trouble` says why.
    GIFs keep every colour of pictures with at most 256. Pictures smaller than 320 pixels are enlarged by a whole factor
    without smoothing, very large ones shrunk, and all are fitted into the size of the first. Nothing is written until
    the first one comes.

    Attributes:
      path: the file.
      num_frames: pictures so far; 0 once there is trouble.
      trouble: what went wrong; empty while nothing has.

    Raises:
      ConfigError: the file's name ends in neither .gif nor .mp4.
    """

    def __init__(self, path: Path, fps: float = 30.0) -> None:
        if path.suffix not in _FORMS:
            raise ConfigError(f"film '{path}' ends in '{path.suffix}'; films are .gif or .mp4. Choose one of these.")
        self.path = path
        self.num_frames = 0
        self.trouble = ""
        self._fps = fps
        self._size = (0, 0)
        self._encoder: subprocess.Popen[bytes] | None = None
        self._pipe: IO[bytes] | None = None
        self._complaints: IO[bytes] | None = None

    def append(self, frame: Array) -> None:
        """Adds a picture: `[H, W, 3]` uint8, or what `to_picture` makes one of."""
        if self.trouble:
            return
        try:
            picture = to_picture(frame)
            if self._pipe is None:
                self._pipe = self._open(picture)
            self._pipe.write(fitted(picture, *self._size).tobytes())
        except (OSError, RuntimeError, EnvError) as error:
            self._give_up(error)
        else:
            self.num_frames += 1

    def close(self) -> None:
        """Ends the file."""
        if self._encoder is None:
            return
        try:
            status = self._end()
        except OSError as error:
            self._give_up(error)
        else:
            if status and not self.trouble:
                self._give_up(RuntimeError(f"ffmpeg ended with status {status}"))
        self._encoder = self._pipe = None
        if self._complaints is not None:
            self._complaints.close()

    def __enter__(self) -> "Film":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, picture: Array) -> IO[bytes]:
        """Starts the encoder for pictures of the size of the first."""
        height, width, _ = picture.shape
        shrink = min(1.0, _LARGEST_SIDE / max(height, width))
        height, width = max(1, int(height * shrink)), max(1, int(width * shrink))
        factor = max(1, min(-(-_SMALLEST_SIDE // min(height, width)), _LARGEST_SIDE // max(height, width)))
        self._size = height, width
        self.path.parent.mkdir(parents=True, exist_ok=True)
        change, encode = _FORMS[self.path.suffix]
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{self._fps:.2f}", "-i", "-"]
        filters = f"scale=iw*{factor}:ih*{factor}:flags=neighbor,{change}"
        command = [encoder_program(), "-y", "-v", "error", *raw, "-an", "-vf", filters, *encode, f"file:{self.path}"]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the encoder runs
        self._encoder = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            start_new_session=True,  # Ctrl-C is for whoever is filmed; the film is ended as it should be
        )
        assert self._encoder.stdin is not None
        return self._encoder.stdin

    def _end(self) -> int:
        """Waits until the encoder has written all of it; returns its exit status."""
        assert self._encoder is not None
        try:
            if self._pipe is not None:
                self._pipe.close()
        finally:
            status = self._encoder.wait()
        return status

    def _give_up(self, error: Exception) -> None:
        said = b""
        if self._encoder is not None:
            with contextlib.suppress(OSError):
                self._end()
            with contextlib.suppress(OSError):
                self.path.unlink()
        if self._complaints is not None:
            self._complaints.seek(0)
            said = self._complaints.read()
        reason = said.decode(errors="replace").strip() or getattr(error, "strerror", None) or str(error)
        self.trouble = " ".join(reason.split())[-300:].rstrip(".")
        self.num_frames = 0


def write_film(path: Path, frames: Iterable[Array], fps: float = 30.0, limits: FilmLimits | None = None) -> Footage:
    """Writes pictures to a .gif or .mp4 file, as many as the limits allow; returns what there is.

    Raises:
      RuntimeError: there is no film; says why.
    """
    footage = Footage(limits)
    begun = time.perf_counter()
    with Film(path, fps) as film:
        for frame in frames:
            footage.seconds = time.perf_counter() - begun
            if not footage.wants_more():
                break
            film.append(frame)
            footage.num_frames = film.num_frames
    if film.trouble:
        raise RuntimeError(film.trouble)
    return footage
