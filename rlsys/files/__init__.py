"""Files: read with limits, parsed with one line per fault, written whole or not at all."""
