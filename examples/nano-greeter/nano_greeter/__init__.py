"""A plugin in a distribution of its own."""
