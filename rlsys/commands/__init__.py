"""What the subcommands of `rlsys` do that do not train: top, status, doctor, play, list."""
