"""Latent transition models, one interface for all; `make.py` builds the one that is configured."""
