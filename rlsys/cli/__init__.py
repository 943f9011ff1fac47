"""The command line: `rlsys launch | plan | status | top | attach | stop | scale | list | show | eval | play | …`.

What is heavy (pydantic, numpy, torch, ray, wandb) is imported inside the chosen command, so that help is instant.
"""

from rlsys.cli.app import main

__all__ = ["main"]
