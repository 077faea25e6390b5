"""The kit for plugin authors: pytest plugin, clusters, faults, conformance suites."""
