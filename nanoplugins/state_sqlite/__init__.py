"""The embedded state store: records in memory, every change durable in one SQLite file."""
