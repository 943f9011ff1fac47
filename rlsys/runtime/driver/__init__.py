"""Who leads a run: on Ray a supervisor of workers, inline one process in a fixed order."""
