"""Errors a user can act on: each is one line that says what is wrong, what is allowed and what to do.

    RlsysError
    ├── ConfigError       a name, key, value or combination that cannot work
    ├── EnvError          an environment that is missing, misbuilt or misbehaves
    ├── ReplayError       data that does not fit its table
    ├── CheckpointError   a checkpoint that is damaged or belongs to another experiment
    └── WorkerError       a worker that failed for good, or numbers that went bad

The command line prints the message and exits with status 2; a bug stays an assertion with a traceback.
"""

from collections.abc import Iterable

from rlsys.likeness import nearest
from rlsys.redaction import redact


class RlsysError(Exception):
    """Base of all errors that are the user's to resolve; no message holds the secret of a URI."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class ConfigError(RlsysError):
    """A name, key, value or combination of settings that cannot work."""


class EnvError(RlsysError):
    """An environment that is missing, built wrongly or breaks its contract."""


class ReplayError(RlsysError):
    """Data that does not fit the table it is sent to."""


class CheckpointError(RlsysError):
    """A checkpoint that is damaged, incomplete or of another experiment."""


class WorkerError(RlsysError):
    """A worker that is gone for good, or a loss or priority that is not finite."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest known name, or the empty string."""
    candidates = nearest(name, known)
    return f" Did you mean '{candidates[0]}'?" if candidates else ""
