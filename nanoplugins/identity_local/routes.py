"""``/session`` and ``/tokens``."""

from __future__ import annotations

from nanocore.capabilities.identity import (
    CreateSession,
    CreateToken,
    DeleteSession,
    DeleteToken,
    GetSession,
    ListTokens,
)
from nanocore.capabilities.rest import Route
from nanocore.model.account import Token


def all_routes() -> list[Route]:
    """Return the plugin's routes."""
    return [
        Route(
            "POST",
            "/session",
            CreateSession,
            "Log in; sets the session cookie",
            example={"username": "admin", "password": "correct horse battery staple"},
            status=201,
            location="/session",
        ),
        Route("GET", "/session", GetSession, "Tell who is logged in"),
        Route("DELETE", "/session", DeleteSession, "Log out", status=204),
        Route("GET", "/tokens", ListTokens, "List your API tokens", is_list=True, item=Token),
        Route(
            "POST",
            "/tokens",
            CreateToken,
            "Make an API token; its secret is shown this once",
            example={"name": "backup script", "expires_in_seconds": 86400},
            status=201,
            location="/tokens/{id}",
        ),
        Route("DELETE", "/tokens/{id}", DeleteToken, "Revoke an API token at once", status=204),
    ]
