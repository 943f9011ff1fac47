"""What of policies, learners and replay goes into a checkpoint."""

from collections.abc import Mapping
from typing import Any

Saved = Mapping[str, Any]
"""What can be checkpointed: nested dicts and lists of numpy arrays and JSON scalars. Loading it runs no code."""
