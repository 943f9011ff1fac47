"""Reusable torch modules: forward passes only; losses live in ops and learners."""
