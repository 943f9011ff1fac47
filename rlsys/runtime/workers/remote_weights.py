"""Weights on their way through Ray: from the learner to the parameter server, and from there to whoever acts.

Neither side stands still for them: the learner goes on while the server is told, workers go on acting while what they
asked for comes.
"""

import contextlib
import time
from collections import deque
from concurrent.futures import Future

import ray
from ray.exceptions import RayError

from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.parameter_server import Publication
from rlsys.types import Weights
from rlsys.weights import Packed, unpack

_PATIENCE_S = 10.0
_PAUSE_S = 0.01
_LISTENING_S = 30.0
"""Who asks for newer weights than the newest is answered after so long at the latest."""
_SMALL_BYTES = 65_536
"""Ray sends what has up to 100 kB within a call."""


class RemoteWeights:
    """Asks the parameter server for newer weights, one question at a time; implements `rollout.WeightsSource`.

    The server answers as soon as it has some. Ray's threads fetch the answer and the weights that it names: looking
    whether they have come costs next to nothing.
    """

    def __init__(self, server: Handle) -> None:
        self._server = server
        self._answer: Future[Packed | None] | None = None
        self._asked_at = 0.0

    @property
    def is_asking(self) -> bool:
        """True while an answer, or the weights that it named, are on their way, or have come."""
        return self._answer is not None

    def newer(self, have_version: int) -> Weights | None:
        """Returns newer weights that have come; None if there are none, or not yet, or server or owner are away."""
        return self._look(have_version, _LISTENING_S)

    def newest(self) -> Weights | None:
        """Waits for the newest weights; None if there are none, or server or owner are away."""
        self._answer = None
        while True:
            weights = self._look(-1, 0.0)
            if weights is not None or not self.is_asking:
                return weights
            time.sleep(_PAUSE_S)

    def _look(self, have_version: int, listening_s: float) -> Weights | None:
        if self._answer is None:
            self._answer, self._asked_at = _ask(self._server, have_version, listening_s), time.monotonic()
        if self._answer.done():
            answer, self._answer = self._answer, None
            with contextlib.suppress(RayError):
                packed = answer.result()
                return None if packed is None else unpack(packed)
        elif time.monotonic() - self._asked_at > listening_s + _PATIENCE_S:
            self._answer = None
        return None


def _ask(server: Handle, have_version: int, listening_s: float) -> "Future[Packed | None]":
    """Returns what the parameter server will answer, with the weights themselves."""
    answer: Future[Packed | None] = Future()

    def told(question: "Future[Publication | None]") -> None:
        if (error := question.exception()) is not None:
            answer.set_exception(error)
            return
        publication = question.result()
        weights = None if publication is None else publication.weights[0]
        if weights is None or isinstance(weights, Packed):
            answer.set_result(weights)
        else:
            weights.future().add_done_callback(came)

    def came(weights: "Future[Packed]") -> None:
        if (error := weights.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(weights.result())

    server.pull.remote(have_version, listening_s).future().add_done_callback(told)
    return answer


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
