"""Pure functions on tensors: returns, value transforms and supports, losses. No state, no configuration, no I/O."""
