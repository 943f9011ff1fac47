"""What people look at and play with: world models, episodes as films, search trees and plots of a run.

player.py      keys in, pictures out: plays a game and a world model of it side by side. It is made of
keys.py        chords of keys -> actions         game.py       the real game, and the imagined one
columns.py, comparison.py: the picture           recording.py  films and arrays of what was played
screen.py      what shows a picture and brings keys: window.py, or web.py with page.html
film.py        .mp4 and .gif                     trace.py, plots.py, search_tree.py, report.py: of runs and episodes
picture.py     pictures, of whatever environments draw
"""
