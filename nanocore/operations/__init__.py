"""Long-running work: the engine that journals every step, carries on after a crash, and undoes."""
