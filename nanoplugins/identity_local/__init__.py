"""Accounts that Nano keeps itself: users, roles, sessions, API tokens."""
