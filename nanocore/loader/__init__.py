"""Finds plugins, checks them, asks them for what they declare, and keeps their failures to themselves.

``discover`` lists what is installed; ``plugins.Plugins`` is what the kernel uses. The home of pluggy.
"""
