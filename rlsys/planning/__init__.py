"""Search over a model that is given as functions."""
