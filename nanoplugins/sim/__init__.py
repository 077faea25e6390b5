"""Simulated hypervisor, storage and network."""
