"""FCNetwork with its layers fused, for CPUs: inference for search, and the unroll with its gradient."""
