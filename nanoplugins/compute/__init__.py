"""Compute pools, cells and instances: what the core wants, what the cells report, and the way from one to the other."""
