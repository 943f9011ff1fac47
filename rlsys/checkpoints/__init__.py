"""Checkpoints: what they consist of, and where they are stored."""
