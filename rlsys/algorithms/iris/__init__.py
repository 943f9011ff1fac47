"""IRIS: a policy that is learned in the imagination of a world model over discrete tokens.

Micheli et al. 2023, "Transformers are sample-efficient world models", https://arxiv.org/abs/2209.00588.
"""
