"""Experiments as typed data: sections, how they are merged from files and the command line, and what values they take.

What is named here is for algorithms and for whoever loads an experiment; the rest is imported from its own file.
"""

from rlsys.config.environment import read_env, tasks_of
from rlsys.config.experiment import (
    DEFAULT_PROFILE,
    Experiment,
    FieldDescription,
    Loaded,
    build,
    data_folder,
    describe,
    dump,
    experiment_names,
    experiment_type,
    load,
    override,
    profile_names,
)
from rlsys.config.sections import (
    ENVIRONMENTS_PER_WORKER,
    EnvConfig,
    FinalEvaluation,
    RunConfig,
    RuntimeConfig,
    Section,
)

__all__ = [
    "DEFAULT_PROFILE",
    "ENVIRONMENTS_PER_WORKER",
    "EnvConfig",
    "Experiment",
    "FieldDescription",
    "FinalEvaluation",
    "Loaded",
    "RunConfig",
    "RuntimeConfig",
    "Section",
    "build",
    "data_folder",
    "describe",
    "dump",
    "experiment_names",
    "experiment_type",
    "load",
    "override",
    "profile_names",
    "read_env",
    "tasks_of",
]
