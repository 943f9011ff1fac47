"""A policy whose decisions an inference worker makes."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from rlsys.api import Decision, Policy
from rlsys.errors import WorkerError
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.inference import Request
from rlsys.types import Array, State, Weights

_RETRY_S = 0.2
_INFERENCE_PATIENCE_S = 120.0


class RemotePolicy(Policy):
    """A policy whose decisions an inference worker makes; also where the version of its weights comes from.

    An inference worker that is away is asked again: Ray starts it under the same handle.
    """

    def __init__(self, local: Policy, worker: Handle) -> None:
        """Takes a policy of the same kind, which needs no weights: it knows what states are."""
        self._local = local
        self._worker = worker

    def initial_state(self, batch_size: int) -> State:
        """See `Policy`."""
        return self._local.initial_state(batch_size)

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Waits for: the inference worker. Is unblocked by it, or by a deadline.

        Raises:
          WorkerError: there was no answer for two minutes.
        """
        decision: Decision = self._ask(lambda: self._worker.act.remote(Request(observation, state, explore)))
        return decision

    def encode(self, observation: Array) -> Array:
        """See `Policy`."""
        encoded: Array = self._ask(lambda: self._worker.encode.remote(observation))
        return encoded

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """See `Policy`."""
        return self._local.after_step(state, action, reward)

    def set_weights(self, weights: Weights) -> None:
        """Does nothing: the inference worker looks for weights itself."""

    def weights(self) -> Mapping[str, Array]:
        """Returns none: the inference worker has them."""
        return {}

    @property
    def is_asking(self) -> bool:
        """False: `newer` waits for its answer."""
        return False

    def newer(self, have_version: int) -> Weights | None:
        """Tells, as empty weights, that the inference worker has its first; later versions come with decisions."""
        if have_version >= 0:
            return None
        try:
            version = ray.get(self._worker.version.remote(), timeout=10.0)
        except RayError:
            return None
        return Weights(version, 0, {}) if version > have_version else None

    def _ask(self, call: Callable[[], ray.ObjectRef]) -> Any:
        deadline = time.monotonic() + _INFERENCE_PATIENCE_S
        while True:
            try:
                return ray.get(call(), timeout=max(1.0, deadline - time.monotonic()))
            except ray.exceptions.RayTaskError:
                raise
            except RayError as error:
                if time.monotonic() > deadline:
                    raise WorkerError(
                        f"the inference worker did not answer for {_INFERENCE_PATIENCE_S:.0f} s "
                        f"({type(error).__name__}). See its log in Ray's session folder."
                    ) from None
                time.sleep(_RETRY_S)
