"""Suites: games on which methods are compared with one another, what was published of them, and what runs came to."""
