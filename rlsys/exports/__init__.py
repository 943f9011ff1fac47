"""Trained policies to hand on: made from a run, found by name, path or URI, checked, unpacked."""
