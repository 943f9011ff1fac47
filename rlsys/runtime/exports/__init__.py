"""Exports: what play and evaluation need of a run, small enough to give away, found by path, by name and by URI."""
