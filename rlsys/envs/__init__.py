"""Environments and their wrappers. Never imports torch; importing this package alone imports no simulator either.

make.py      the table of families; `make(config, seed)` and `spec(config)`
atari.py     Atari by RAM and by pixels     classic.py   whatever gymnasium has registered
wrappers.py  wrappers that gymnasium lacks  snapshot.py  saving and restoring running games
vector.py    `BatchedEnv`: what a rollout worker steps
"""
