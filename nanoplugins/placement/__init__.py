"""Chooses a cell for an instance, and says why."""
