"""Learner ranks: what they average and agree on, and what they draw together. Never imports Ray."""
