"""What a run will cost and do, before it is started: parts that are measured here, and the arithmetic of the rest."""
