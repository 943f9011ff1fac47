"""One folder per algorithm, always with the same file names; `registry` finds them."""
