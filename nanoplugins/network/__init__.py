"""Networks and the addresses allocated from them, on the core."""
