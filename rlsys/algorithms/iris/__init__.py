"""IRIS: frames as tokens, a world model over them, and a policy that learns in what that imagines.

Micheli et al. 2023, https://arxiv.org/abs/2209.00588.
"""
