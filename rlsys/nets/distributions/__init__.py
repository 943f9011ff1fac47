"""Distributions over actions: of one choice, of several at once, and of numbers within bounds."""
