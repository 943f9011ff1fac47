"""The one runtime: workers, the topology that makes Ray actors of them, and what a run leaves behind."""
