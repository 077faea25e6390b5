"""Timed jobs on a core, and the first of them: deleting operations that ended long ago."""
