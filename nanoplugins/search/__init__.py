"""One search over every noun."""
