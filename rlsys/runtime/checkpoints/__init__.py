"""Checkpoints: parts that every worker writes of itself, a manifest that commits them, and where they lie."""
