"""The contracts between algorithms and the runtime; neither side knows more of the other than is here.

An algorithm is a record of functions (`Algorithm`). The runtime builds its policies in rollout workers and evaluators,
its learner in a learner worker, and moves segments, batches and weights between them:

    decision = policy.act(observation, state, explore=True)     # rollout worker: once per step for all its environments
    metrics = learner.step(replay)                              # learner worker: once per update
    policy.set_weights(learner.weights())                       # through the parameter server

Another system's algorithm is a `rlsys.baseline.Baseline`.
"""

from rlsys.api.algorithm import Algorithm, ValueSpec
from rlsys.api.learner import Learner, LearnerContext
from rlsys.api.phases import Phase, Schedule
from rlsys.api.policy import Decision, Policy, PolicyContext, Refreshed
from rlsys.api.replay import (
    Cut,
    NothingToDraw,
    QueueSpec,
    Refreshing,
    Replay,
    ReplayNotReady,
    Segments,
    SequenceQuery,
    StoredRows,
    StoreSpec,
    TableSpec,
    Turns,
    TurnTooSmall,
    Unrolls,
)
from rlsys.api.saved import Saved
from rlsys.api.spaces import Spaces
from rlsys.api.world import OffersTraceable, Traceable, World, WorldContext, WorldState, WorldStep, traceable

__all__ = [
    "Algorithm",
    "Cut",
    "Decision",
    "Learner",
    "LearnerContext",
    "NothingToDraw",
    "OffersTraceable",
    "Phase",
    "Policy",
    "PolicyContext",
    "QueueSpec",
    "Refreshed",
    "Refreshing",
    "Replay",
    "ReplayNotReady",
    "Saved",
    "Schedule",
    "Segments",
    "SequenceQuery",
    "Spaces",
    "StoreSpec",
    "StoredRows",
    "TableSpec",
    "Traceable",
    "TurnTooSmall",
    "Turns",
    "Unrolls",
    "ValueSpec",
    "World",
    "WorldContext",
    "WorldState",
    "WorldStep",
    "traceable",
]
