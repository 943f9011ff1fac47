"""`rlsys latents`: what a world model's latents know of the true state, from a file of both.

Shape legend: N moments, K components of the state, D numbers of a kind of latents.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlsys.errors import ConfigError
from rlsys.files.outputs import make_writable, unwritable
from rlsys.terminal import print_table
from rlsys.types import Array
from rlsys.viewer import plots

LATENTS = ("sample", "belief")
"""Arrays of a file that are latents; all others are parts of the state."""
_FITTED = 0.8
"""Share of the moments on which regressions are fitted, the first ones; the rest tells whether they hold."""


@dataclass(frozen=True)
class Moments:
    """What was collected, in the order in which it happened.

    Attributes:
      latents: kind -> `[N, D]`.
      state: name of a component, such as "position[0]" -> `[N]`.
    """

    latents: Mapping[str, Array]
    state: Mapping[str, Array]


def show_latents(path: Path, picture: Path | None) -> str:
    """Prints for each component of the state which latent goes with it most, and R² of all; draws it as a picture.

    Returns:
      Where the picture is.

    Raises:
      ConfigError: the file holds something else, or the picture cannot be written.
    """
    picture = picture or path.with_suffix(".png")
    if picture.suffix not in plots.ENDINGS:
        raise ConfigError(f"--output {picture}; its name must end in {' or '.join(plots.ENDINGS)}. Rename it.")
    moments = read_moments(path)
    make_writable(picture, "--output")
    correlations = {name: correlation(latents, moments.state) for name, latents in moments.latents.items()}
    together = np.concatenate(list(moments.latents.values()), axis=1)
    fitted, held_out = explained(together, moments.state)
    rows = [
        (name, _strongest({kind: found[index] for kind, found in correlations.items()}), _share(fit), _share(held))
        for index, (name, fit, held) in enumerate(zip(moments.state, fitted, held_out, strict=True))
    ]
    print_table(f"{path}: {len(together):,} moments", ("state", "strongest latent", "R²", "R² held out"), rows)
    figure = plots.plot_latents(correlations, {"fitted": fitted, "held out": held_out}, list(moments.state))
    try:
        plots.save(figure, picture)
    except OSError as error:
        raise unwritable(picture, "--output", error) from None
    return str(picture)


def read_moments(path: Path) -> Moments:
    """Reads a .npz file with arrays of equal length: "sample" or "belief" or both, and parts of the state.

    Raises:
      ConfigError: it is no such file.
    """
    arrays = _arrays(path)
    latents = {name: arrays.pop(name) for name in LATENTS if name in arrays}
    if not (latents and arrays):
        raise ConfigError(
            f"{path} holds {', '.join([*latents, *arrays]) or 'nothing'}; it must hold {' or '.join(LATENTS)}, and "
            "something of the state, such as position. Collect both."
        )
    lengths = {name: len(array) for name, array in {**latents, **arrays}.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise ConfigError(f"{path} holds arrays of different lengths: {told}. Each must have a row for each moment.")
    needed = int((sum(array.shape[1] for array in latents.values()) + 2) / _FITTED) + 1
    if min(lengths.values()) < needed:
        raise ConfigError(
            f"{path} holds {min(lengths.values()):,} moments; so many latents explain anything at fewer than "
            f"{needed:,}. Collect more."
        )
    state = {
        name if array.shape[1] == 1 else f"{name}[{index}]": array[:, index]
        for name, array in arrays.items()
        for index in range(array.shape[1])
    }
    return Moments(latents, state)


def correlation(latents: Array, state: Mapping[str, Array]) -> Array:
    """Returns |correlation| of each component with each latent, `[K, D]`; 0 where one of both never changes."""
    known = np.stack(list(state.values()), axis=1)
    covariances = _standardised(known).T @ _standardised(latents) / len(latents)
    found: Array = np.clip(np.abs(covariances), 0.0, 1.0)
    return found


def explained(latents: Array, state: Mapping[str, Array]) -> tuple[Array, Array]:
    """Returns R² of each component's least-squares regression on all latents with a constant, `[K]` twice.

    The first is of the moments that it was fitted on, the second of the later ones, where it may be below 0. NaN where
    a component does not change.
    """
    known = np.stack(list(state.values()), axis=1)
    inputs = np.concatenate([_standardised(latents), np.ones((len(latents), 1))], axis=1)
    split = int(_FITTED * len(inputs))
    weights = np.linalg.lstsq(inputs[:split], known[:split], rcond=None)[0]
    errors = (known - inputs @ weights) ** 2
    return _explained(errors[:split], known[:split]), _explained(errors[split:], known[split:])


def _explained(errors: Array, known: Array) -> Array:
    variances = known.var(axis=0)
    changes = variances > np.finfo(np.float64).eps * (1.0 + (known**2).mean(axis=0))
    return np.where(changes, 1.0 - errors.mean(axis=0) / np.where(changes, variances, 1.0), np.nan)


def _standardised(columns: Array) -> Array:
    """Returns columns of mean 0 and deviation 1; of those that do not change, zeros."""
    deviations = columns.std(axis=0)
    changes = deviations > 1e-12 * (1.0 + np.abs(columns).max(axis=0))
    return np.where(changes, (columns - columns.mean(axis=0)) / np.where(changes, deviations, 1.0), 0.0)


def _strongest(found: Mapping[str, Array]) -> str:
    kind = max(found, key=lambda name: float(found[name].max()))
    index = int(found[kind].argmax())
    if not found[kind][index]:
        return "none"
    return f"{kind}[{index}] {found[kind][index]:.2f}"


def _share(value: float) -> str:
    return "constant" if np.isnan(value) else f"{value:.3f}"


def _arrays(path: Path) -> dict[str, Array]:
    """Returns a file's arrays as numbers, `[N, …]` flattened to `[N, K]`; it never runs what a pickle says."""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        with file:
            arrays = {name: np.asarray(file[name], np.float64) for name in file.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or " ".join(str(error).split()) or "it is empty"
        raise ConfigError(f"{path} cannot be read as .npz: {reason}. Give a file of named arrays of numbers.") from None
    for name, array in arrays.items():
        if not array.ndim or not np.isfinite(array).all():
            raise ConfigError(f"{path}: {name} is a single number, or holds some that are not finite. Collect it anew.")
    return {name: array.reshape(len(array), -1) for name, array in arrays.items()}
