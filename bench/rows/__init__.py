"""One module a row: ``async def measure(full: bool) -> list[Figure]``."""
