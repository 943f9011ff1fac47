"""Environments and their wrappers. Never imports torch; importing this package alone imports no simulator either.

make.py       `make(config, seed)`, `make_simulator(config, seeds)` and `env_spec(config)`
table.py      which families there are, and how an id finds its own; family.py says what one is
families/     a file each: its ids, its settings, its simulators
  atari.py      Atari by RAM and by pixels     procgen.py    ProcGen's 16 games
  dmlab.py      the levels of DMLab-30         memory.py     T-mazes
  dm_control.py the DeepMind Control Suite     catch.py      catch
  tiles.py      2048
  boards.py     board games for two            moves.py      legal moves, and whose turn it is
  classic.py    whatever gymnasium has registered, CartPole many at once (cartpole.py), as it is drawn (pictures.py)
scores.py     reference scores and normalised ones, for the rows of evaluations
spaces.py     every space of gymnasium's as arrays that can be described; actions.py   other actions than its own
wrappers.py   wrappers that gymnasium lacks  snapshot.py   saving and restoring running games
kwargs.py     what users give a constructor  offscreen.py  what MuJoCo draws with
vector.py     `BatchedEnv`: what a rollout worker steps; one by one (loop.py) or at once (lockstep.py over a Simulator)
"""
