"""Replay storage without processes. Never imports torch or ray."""
