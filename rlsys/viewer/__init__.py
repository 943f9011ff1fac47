"""What people look at and play with: world models, episodes as films, search trees and plots of a run.

playing/       keys in, pictures out: a game beside a world model of it, and the episodes that a run has kept
columns.py, comparison.py, header.py: the picture
screen.py      what shows a picture and brings keys: window.py, or web.py with a page of pages/
film.py        .mp4 and .gif                     episodes.py   the newest and the best episodes of a run, as arrays
trace.py, plots.py, search_tree.py, report.py: of runs and episodes
picture.py     pictures, of whatever environments draw
"""
