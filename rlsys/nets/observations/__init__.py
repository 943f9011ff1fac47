"""Observations as networks see them: of several parts, of integers, and normalised by what was seen so far."""
