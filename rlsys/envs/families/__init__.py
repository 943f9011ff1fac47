"""Families of environments, a file each; `rlsys.envs.table` has a row for each."""
