"""World models over discrete tokens, one interface for all; `make.py` builds the one that is configured."""
