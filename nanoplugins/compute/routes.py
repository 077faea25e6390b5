"""The public API of instances, compute pools, nodes and the overview."""

from __future__ import annotations

from nanocore.capabilities import compute
from nanocore.capabilities.batches import CreateInstanceBatch
from nanocore.capabilities.rest import Route
from nanocore.model.compute_pool import ComputePool
from nanocore.model.instance import Instance, InstanceAction
from nanocore.model.node import Node
from nanoplugins.compute.power import POWER_ACTIONS

_ID = "2c4f9a31-6f0e-4a55-9b0e-0f6f5a2f7a10"

_SUMMARIES = {
    InstanceAction.START: "Start an instance",
    InstanceAction.STOP: "Ask the guest to shut down; cut its power when it has not after grace_seconds",
    InstanceAction.POWER_OFF: "Cut an instance's power",
    InstanceAction.REBOOT: "Ask the guest to reboot",
    InstanceAction.RESET: "Press an instance's reset button",
    InstanceAction.PAUSE: "Stop an instance's processors",
    InstanceAction.RESUME: "Let a paused instance go on",
    InstanceAction.SUSPEND: "Write an instance's memory to disk and stop it",
    InstanceAction.RESTORE: "Let a suspended instance go on where it was",
}


def all_routes() -> list[Route]:
    """Return every route of this plugin."""
    return [*_instance_routes(), *_pool_routes(), *_node_routes()]


def _instance_routes() -> list[Route]:
    example = {"name": "web-1", "image_id": _ID, "vcpus": 2, "memory_bytes": 2147483648, "tags": ["web"]}
    return [
        Route("GET", "/instances", compute.ListInstances, "List instances", is_list=True, item=Instance),
        Route("POST", "/instances", compute.CreateInstance, "Create an instance", example),
        Route("GET", "/instances/{id}", compute.GetInstance, "Get an instance", item=Instance),
        Route("PATCH", "/instances/{id}", compute.UpdateInstance, "Change an instance", {"vcpus": 4}, item=Instance),
        Route("DELETE", "/instances/{id}", compute.DeleteInstance, "Delete an instance with its disks"),
        Route(
            "POST",
            "/instance-batches",
            CreateInstanceBatch,
            "Make many instances, or do one thing to many",
            {"create": {"name_pattern": "web-{n:02}", "count": 3, "image_id": _ID, "memory_bytes": 1073741824}},
        ),
        Route("GET", "/instances/{id}/placement", compute.GetPlacement, "Say why an instance is where it is"),
        *(
            Route(
                "POST",
                f"/instances/{{id}}/actions/{action.value}",
                compute.ActOnInstance,
                _SUMMARIES[action],
                {"grace_seconds": 30} if action is InstanceAction.STOP else None,
                constants=(("action", action.value),),
            )
            for action in POWER_ACTIONS
        ),
        Route(
            "POST",
            "/instances/{id}/actions/rebuild",
            compute.RebuildInstance,
            "Give a stopped instance a fresh boot disk; its data disks stay",
            {"image_id": _ID},
        ),
        Route(
            "POST",
            "/instances/{id}/actions/clone",
            compute.CloneInstance,
            "Make another instance with copies of all disks",
            {"name": "web-2"},
        ),
        Route("POST", "/instances/{id}/nics", compute.AddNic, "Add a network card", {"network_id": _ID}),
        Route(
            "PATCH",
            "/instances/{id}/nics/{nic_id}",
            compute.UpdateNic,
            "Change a network card's security policy",
            {"security_policy_id": _ID},
        ),
        Route("DELETE", "/instances/{id}/nics/{nic_id}", compute.RemoveNic, "Remove a network card"),
        Route(
            "PUT",
            "/instances/{id}/media/{slot}",
            compute.InsertMedia,
            "Insert a media image into a CD drive",
            {"media_image_id": _ID},
        ),
        Route("DELETE", "/instances/{id}/media/{slot}", compute.EjectMedia, "Eject what is in a CD drive"),
    ]


def _pool_routes() -> list[Route]:
    new = {"name": "batch", "description": "Cheap and slow", "cpu_overcommit": 4, "memory_overcommit": 1.2}
    return [
        Route("GET", "/compute-pools", compute.ListComputePools, "List compute pools", is_list=True, item=ComputePool),
        Route(
            "POST",
            "/compute-pools",
            compute.CreateComputePool,
            "Create a compute pool",
            new,
            status=201,
            location="/compute-pools/{id}",
        ),
        Route("GET", "/compute-pools/{id}", compute.GetComputePool, "Get a compute pool"),
        Route(
            "PATCH", "/compute-pools/{id}", compute.UpdateComputePool, "Change a compute pool", {"is_enabled": False}
        ),
        Route("DELETE", "/compute-pools/{id}", compute.DeleteComputePool, "Delete an empty compute pool", status=204),
        Route("PUT", "/compute-pools/{id}/cells/{node_id}", compute.AddCell, "Put a cell into a compute pool"),
        Route("DELETE", "/compute-pools/{id}/cells/{node_id}", compute.RemoveCell, "Take a cell out of a compute pool"),
    ]


def _node_routes() -> list[Route]:
    return [
        Route("GET", "/nodes", compute.ListNodes, "List nodes", is_list=True, item=Node),
        Route("GET", "/nodes/{id}", compute.GetNode, "Get a node"),
        Route("DELETE", "/nodes/{id}", compute.DeleteNode, "Revoke a node that runs no instances", status=204),
        Route("GET", "/nodes/{id}/plugins", compute.ListNodePlugins, "List a node's plugins and how they are"),
        *(
            Route(
                "POST",
                f"/nodes/{{id}}/actions/{action}",
                compute.ActOnNode,
                summary,
                constants=(("action", action),),
            )
            for action, summary in (
                ("enable", "Let a cell get new instances"),
                ("disable", "Let a cell get no new instances"),
            )
        ),
        *(
            Route(
                "POST",
                f"/nodes/{{id}}/actions/{action}",
                compute.StopNode,
                summary,
                constants=(("is_restart", action == "restart"),),
            )
            for action, summary in (
                ("restart", "Restart a node's kernel; guests run on"),
                ("stop", "Stop a node's kernel until it is started on its host; guests run on"),
            )
        ),
        Route("GET", "/system", compute.GetSystemOverview, "See the zone at a glance"),
    ]
