"""Families of environments, a file each; `rlsys.envs.make` has a row for each."""
