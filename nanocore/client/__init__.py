"""The SDK over the public API."""
