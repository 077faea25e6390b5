"""Checks behind ``/readyz``, ``nano doctor`` and a node's plugins."""

from __future__ import annotations

from nanocore.contracts.health import CheckOutcome, HealthCheck, PluginHealth

__all__ = ["CheckOutcome", "HealthCheck", "PluginHealth"]
