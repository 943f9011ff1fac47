"""Stochastic MuZero as options of MuZero: Antonoglou et al. 2022, https://openreview.net/forum?id=X6D9bAHhBQ1."""
