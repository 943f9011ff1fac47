"""Whole games that are played for their scores: while a run trains, at its end, and by `rlsys eval`."""
