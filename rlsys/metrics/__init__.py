"""What is measured of a run, and where it goes: rows, trackers, the terminal, the report, the dashboards."""
