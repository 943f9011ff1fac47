"""Who plays in an evaluation instead of a run's own policy: planners in its world model, and chance."""
