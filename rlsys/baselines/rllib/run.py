"""A run of RLlib: one `Algorithm`, trained in portions of about a second."""

import contextlib
from collections.abc import Iterator

from ray.exceptions import RayError

from rlsys.baseline import BaselineContext, BaselineReport
from rlsys.baselines.rllib.metrics import Counters
from rlsys.baselines.rllib.settings import build
from rlsys.errors import WorkerError


class RllibRun:
    """RLlib's algorithm with its runners and learners; see `rlsys.baseline.BaselineRun`."""

    def __init__(self, context: BaselineContext) -> None:
        settings = build(context)
        self._counters = Counters(settings.num_learners)
        with _failures_as_one_line():
            self._algorithm = settings.build_algo()

    def work(self) -> BaselineReport:
        """Runs one iteration of RLlib's."""
        with _failures_as_one_line():
            return self._counters.report(self._algorithm.train())

    def close(self) -> None:
        """Ends runners and learners."""
        with contextlib.suppress(RayError):
            self._algorithm.stop()


@contextlib.contextmanager
def _failures_as_one_line() -> Iterator[None]:
    try:
        yield
    except RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or ["no reason given"]
        raise WorkerError(
            f"a worker of RLlib failed ({type(error).__name__}: {lines[-1].strip()[:300]}). Launch the experiment "
            "again; if it fails again, correct the environment or what the message names."
        ) from error
