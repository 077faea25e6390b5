"""Which role may do what; permissions are ``<noun>.<verb>``, either part or all of it may be ``*``."""

from __future__ import annotations

from collections.abc import Iterable

OWN = ("session.own", "token.own")
"""What everybody who is logged in may do with what is theirs."""

ROLES: dict[str, tuple[str, ...]] = {
    "admin": ("*",),
    "operator": (
        "*.read",
        "instance.*",
        "image.*",
        "volume.*",
        "template.*",
        "network.*",
        "address_pool.*",
        "security_policy.*",
        "compute_pool.*",
        "node.update",
        "operation.cancel",
        *OWN,
    ),
    "viewer": ("*.read", *OWN),
}


def permissions_of(roles: Iterable[str]) -> list[str]:
    """Return the union of what ``roles`` may, sorted; an unknown role may nothing."""
    return sorted({permission for role in roles for permission in ROLES.get(role, ())})


def covers(roles: Iterable[str], role: str) -> bool:
    """Return whether who has ``roles`` may everything that ``role`` may; an unknown role is nobody's."""
    own = permissions_of(roles)
    return role in ROLES and all(is_permitted(own, permission) for permission in ROLES[role])


def is_permitted(permissions: Iterable[str], permission: str) -> bool:
    """Return whether one of ``permissions`` covers ``permission``."""
    noun, _, verb = permission.partition(".")
    return any(granted in ("*", permission, f"*.{verb}", f"{noun}.*") for granted in permissions)
