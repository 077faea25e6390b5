"""What two nodes tell each other about what they understand."""

PROTOCOL_VERSION = 1

FEATURES: tuple[str, ...] = ("streams",)
"""Names are only ever appended; ``hello`` exchanges them."""
