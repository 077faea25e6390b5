"""The nouns: frozen types, enums, and one transition table a noun."""
