"""Playing, and looking at what was played: what is shown, and which keys do what; without window and browser.

stage.py       anything that can be shown, on a screen, with the keys that all of it has
player.py      a game and a world model of it, with keys or by a policy; replay.py: episodes that a run has kept
keys.py        chords of keys -> actions         game.py       the real game, and the imagined one
sides.py       the picture of both               recording.py  films and arrays of what was played
"""
