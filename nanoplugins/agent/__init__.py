"""Turns the core's commands into driver calls on a cell, and reports what is really there."""
