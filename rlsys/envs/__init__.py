"""Environments and their wrappers. Never imports torch; importing this package alone imports no simulator either.

make.py       the table of families; `make(config, seed)`, `make_simulator(config, seeds)` and `spec(config)`
atari.py      Atari by RAM and by pixels     procgen.py    ProcGen's 16 games
dmlab.py      the levels of DMLab-30         memory.py     T-mazes
classic.py    whatever gymnasium has registered, CartPole many at once (cartpole.py)
scores.py     reference scores and normalised ones, for the rows of evaluations
spaces.py     every space of gymnasium's as arrays that can be described
wrappers.py   wrappers that gymnasium lacks  snapshot.py   saving and restoring running games
vector.py     `BatchedEnv`: what a rollout worker steps; one by one (loop.py) or at once (lockstep.py over a Simulator)
"""
