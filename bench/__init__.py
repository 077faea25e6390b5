"""Benchmarks: each figure beside the raw limit of the same work, measured in the same run."""
