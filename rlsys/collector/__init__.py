"""What a policy does for replay: it plays environments, and finds out anew what is kept of stored rows."""

from rlsys.collector.collector import Collected, Collector
from rlsys.collector.refresher import Refresher, Stored

__all__ = ["Collected", "Collector", "Refresher", "Stored"]
