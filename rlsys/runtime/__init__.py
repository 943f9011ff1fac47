"""The runtime, the one place besides baselines that knows Ray: cluster, workers, driver, launch."""
