"""One capability a file: its messages, results, driver ``Protocol`` and ``Info``."""
