"""Routes of nouns that the kernel itself owns."""

from __future__ import annotations

from nanocore.capabilities.rest import Route
from nanocore.contracts.node import CreateInvite, DeleteInvite, Invite, ListInvites
from nanocore.contracts.operation import CancelOperation, GetOperation, ListOperations, Operation
from nanocore.contracts.plugin import ListPlugins, PluginStatus


def all_routes() -> list[Route]:
    """Return ``/operations``, ``/node-invites`` and ``/plugins``."""
    return [
        Route("GET", "/operations", ListOperations, "List operations", is_list=True, item=Operation),
        Route("GET", "/operations/{id}", GetOperation, "Get an operation; with wait_seconds, when it has ended"),
        Route("DELETE", "/operations/{id}", CancelOperation, "Cancel an operation and undo what it did"),
        Route("GET", "/node-invites", ListInvites, "List invites that can still be used", is_list=True, item=Invite),
        Route(
            "POST",
            "/node-invites",
            CreateInvite,
            "Make a one-time invite for a new node",
            example={"roles": ["cell"], "expires_in_seconds": 3600},
            status=201,
            location="/node-invites/{id}",
        ),
        Route("DELETE", "/node-invites/{id}", DeleteInvite, "Withdraw an invite", status=204),
        Route("GET", "/plugins", ListPlugins, "List plugins and their state", is_list=True, item=PluginStatus),
    ]
