"""History of nodes and instances, in memory, of fixed size."""
