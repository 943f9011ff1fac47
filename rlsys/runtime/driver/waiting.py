"""Waiting that explains itself: for what, for how long, and what of the cluster is free meanwhile."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from rlsys.errors import RlsysError, WorkerError
from rlsys.runtime.driver.pending_calls import brief

SILENCE_S = 60.0
"""Nobody waits longer than this without saying for what."""


def get(references: Sequence[ray.ObjectRef], what: str, say: Callable[[str], None], patience_s: float) -> list[Any]:
    """Returns the values of references once all are there; says every minute what they wait for.

    Args:
      references: of calls, perhaps to actors that still look for a machine.
      what: what they are to do: "start the learners".
      say: shows a line.
      patience_s: after so many seconds it is given up.

    Raises:
      WorkerError: the time is over.
      RlsysError: a call failed, and says what is wrong.
    """
    started = time.monotonic()
    while True:
        left = patience_s - (time.monotonic() - started)
        try:
            values: list[Any] = ray.get(list(references), timeout=max(0.0, min(SILENCE_S, left)))
            return values
        except GetTimeoutError:
            waited = f"{time.monotonic() - started:.0f} s; {free_resources()}"
        except RayTaskError as error:
            if isinstance(error.cause, RlsysError):
                raise error.cause from None
            raise
        except RayError as error:
            raise WorkerError(
                f"cannot {what}: {brief(error)}. See Ray's session folder for the workers' logs."
            ) from None
        if left <= SILENCE_S:
            raise WorkerError(
                f"could not {what} within {waited}. Look whether machines that it needs are missing ('ray status'), "
                "and into the workers' logs in Ray's session folder."
            )
        say(f"waiting to {what} for {waited}")


def free_resources() -> str:
    """Returns what nobody has reserved: "free in the cluster: CPU 1.5 of 2, GPU 0 of 1, memory 3.1 of 16.0 GiB"."""
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    parts = [f"{name} {free.get(name, 0.0):g} of {total[name]:g}" for name in ("CPU", "GPU") if name in total]
    parts.append(f"memory {free.get('memory', 0.0) / 2**30:.1f} of {total.get('memory', 0.0) / 2**30:.1f} GiB")
    return "free in the cluster: " + ", ".join(parts)
