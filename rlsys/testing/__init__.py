"""Fakes that assert, and the contract checks that every algorithm and environment must pass."""
