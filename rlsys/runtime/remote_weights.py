"""Weights on their way through Ray: from the learner to the parameter server, and from there to whoever acts.

Neither side stands still for them: the learner goes on while the server is told, workers go on acting while what they
asked for comes.
"""

import contextlib
import time
from collections import deque

import ray
from ray.exceptions import RayError

from rlsys.runtime.parameter_server import Publication
from rlsys.runtime.remote import Handle
from rlsys.runtime.weights import Packed, unpack
from rlsys.types import Weights

_PATIENCE_S = 10.0
_PAUSE_S = 0.01
_SMALL_BYTES = 65_536
"""Ray sends what has up to 100 kB within a call."""


class RemoteWeights:
    """Asks the parameter server for newer weights, one question at a time; implements `rollout.WeightsSource`."""

    def __init__(self, server: Handle) -> None:
        self._server = server
        self._question: ray.ObjectRef | None = None
        self._weights: ray.ObjectRef | None = None
        self._asked_at = 0.0

    @property
    def is_asking(self) -> bool:
        """True while an answer, or the weights that it named, are on their way."""
        return self._question is not None or self._weights is not None

    def newer(self, have_version: int) -> Weights | None:
        """Returns newer weights that have come; None if there are none, or not yet, or server or owner are away."""
        try:
            return self._look(have_version)
        except RayError:
            self._forget()
            return None

    def newest(self) -> Weights | None:
        """Waits for the newest weights; None if there are none, or server or owner are away."""
        while True:
            weights = self.newer(-1)
            if weights is not None or not self.is_asking:
                return weights
            time.sleep(_PAUSE_S)

    def _look(self, have_version: int) -> Weights | None:
        if not self.is_asking:
            self._question = self._server.pull.remote(have_version)
            self._asked_at = time.monotonic()
        if self._question is not None and _has_come(self._question):
            publication: Publication | None = ray.get(self._question)
            self._question = None
            if publication is not None and isinstance(publication.weights[0], Packed):
                return unpack(publication.weights[0])
            self._weights = None if publication is None else publication.weights[0]
        if self._weights is not None and _has_come(self._weights):
            packed: Packed = ray.get(self._weights)
            self._weights = None
            return unpack(packed)
        if self.is_asking and time.monotonic() - self._asked_at > _PATIENCE_S:
            self._forget()
        return None

    def _forget(self) -> None:
        self._question = self._weights = None


class RemotePublisher:
    """Puts weights into shared memory once and tells the parameter server where, one call at a time.

    The last two versions are kept alive here: their owner is the learner's process. Small weights travel inside the
    calls, which is cheaper than finding them in shared memory.
    """

    def __init__(self, server: Handle) -> None:
        self._server = server
        self._kept: deque[ray.ObjectRef] = deque(maxlen=2)
        self._call: ray.ObjectRef | None = None

    def __call__(self, packed: Packed) -> None:
        """Publishes one version; does not wait until the server knows it."""
        weights: Packed | ray.ObjectRef = packed
        if packed.buffer.nbytes > _SMALL_BYTES:
            weights = ray.put(packed)
            self._kept.append(weights)
        self.flush()
        self._call = self._server.publish.remote(Publication(packed.version, packed.learner_step, [weights]))

    def flush(self) -> None:
        """Waits until whoever pulls gets the last version; a server that is being restarted gets the next one."""
        call, self._call = self._call, None
        if call is not None:
            with contextlib.suppress(RayError):
                ray.get(call, timeout=_PATIENCE_S)


def _has_come(reference: ray.ObjectRef) -> bool:
    ready, _ = ray.wait([reference], timeout=0)
    return bool(ready)
