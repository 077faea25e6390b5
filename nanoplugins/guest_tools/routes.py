"""The public API of what is inside guests."""

from __future__ import annotations

from nanocore.capabilities import guest
from nanocore.capabilities.rest import Route

_ACTIONS = "/instances/{id}/guest/actions"


def all_routes() -> list[Route]:
    """Return every route of this plugin."""
    return [
        Route("GET", "/instances/{id}/guest", guest.GetInstanceGuest, "See what is known of the inside of an instance"),
        Route(
            "POST",
            f"{_ACTIONS}/set_password",
            guest.ChangeGuestPassword,
            "Set a user's password in the running guest",
            {"username": "root", "password": "correct horse battery staple"},
        ),
        Route(
            "POST",
            f"{_ACTIONS}/set_hostname",
            guest.ChangeGuestHostname,
            "Set the host name in the running guest",
            {"hostname": "web-2"},
        ),
        Route(
            "POST",
            f"{_ACTIONS}/freeze",
            guest.FreezeInstance,
            "Hold all writing to the guest's file systems for a while",
            {"seconds": 30},
        ),
        Route("POST", f"{_ACTIONS}/thaw", guest.ThawInstance, "Let the guest write to its file systems again"),
    ]
