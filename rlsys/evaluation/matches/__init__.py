"""Games of trained policies against each other and against scripted opponents, and how strong that makes each."""
