"""Nano's kernel: carries encrypted typed messages between nodes and dispatches them to plugins."""

__version__ = "0.1.0"
