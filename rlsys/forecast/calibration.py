"""What the parts of a run cost on this machine: measured for a few seconds, each in a process of its own.

    acting × min(rollout workers, cores) ──segments──▶ storing ──batches──▶ learning

These are the run's own objects without Ray: rollout workers that play, a table or queue that holds what they send, a
learner that updates from it. All of them compute at the same time, as in a run, so that what cores lose to each other
is in the figures. CPU time counts, not wall time: other work on the machine changes it less.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from rlsys.errors import RlsysError, WorkerError
from rlsys.forecast.costs import Costs
from rlsys.forecast.measured import PATIENCE_S, act, learn, received, store
from rlsys.runs.spec import RunSpec


def measure(spec: RunSpec, seconds: float) -> Costs:
    """Measures a run's own objects on this machine.

    Args:
      spec: settled; its folder is not used.
      seconds: how long the learner updates.

    Raises:
      RlsysError: a part of the run cannot be built, or fails.
    """
    actors = min(spec.num_rollout_workers, os.cpu_count() or 1)
    with contextlib.ExitStack() as stack:
        to_shard, from_actor = stack.enter_context(_pipe())
        to_learner, from_shard = stack.enter_context(_pipe())
        learner = stack.enter_context(_process(learn, spec, from_shard, seconds))
        shard = stack.enter_context(_process(store, spec, from_actor, to_learner))
        playing = [
            stack.enter_context(_process(act, spec, index, to_shard if index == 0 else None)) for index in range(actors)
        ]
        packed = received(learner, "the first weights")
        for actor in playing:
            actor.send(packed)
        others = [shard, *playing]
        ready = wait([learner, *others], timeout=PATIENCE_S + seconds)
        if learner not in ready:
            for other in others:
                if other in ready:
                    received(other, "a measurement")  # only an error comes as early as this
        learning = received(learner, "the learner's measurement")
        for process in (shard, *playing):
            process.send(None)
        acting = [received(actor, "the measurement of a rollout worker") for actor in playing]
        return Costs(acting[0], received(shard, "the shard's measurement"), learning)


@contextlib.contextmanager
def _process(work: Callable[..., Any], *arguments: Any) -> Iterator[Connection]:
    """Lets a process do `work(spec, connection, …)`; what it returns, or raises, comes through the connection."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_report, args=(work, there, arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.kill()
        process.join()


def _report(work: Callable[..., Any], parent: Connection, arguments: tuple[Any, ...]) -> None:
    import rlsys.runtime.workers.processes  # noqa: F401 - with Ray and all else that takes memory in a worker

    try:
        spec, *others = arguments
        parent.send(work(spec, parent, *others))
    except RlsysError as error:
        parent.send(error)
    except Exception as error:  # noqa: BLE001 - whatever it was, the user must hear of it
        parent.send(WorkerError(f"{type(error).__name__} while it was measured: {error}"))


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[Connection, Connection]]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    with here, there:
        yield here, there
