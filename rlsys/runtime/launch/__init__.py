"""From a merged experiment to a finished run."""
