"""One module a row: ``async def measure(size: Size) -> list[Figure]``."""
