"""A storage driver in a distribution of its own."""
