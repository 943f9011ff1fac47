"""Environments and their wrappers. Never imports torch."""
