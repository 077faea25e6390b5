"""What runs: for people, and with ``--json`` for scripts."""

from __future__ import annotations

import shutil
import socket
from contextlib import suppress
from typing import Any

from nanocore.client import Client
from nanoplugins.quickstart.first_instance import addresses
from nanoplugins.quickstart.layout import CHECKOUT, Layout

Json = dict[str, Any]


def gather(client: Client, layout: Layout) -> Json:
    """Return what ``--status --json`` prints."""
    url = f"https://{machine_address()}:{layout.port()}"
    node = next((each for each in client.items("/nodes") if each["is_self"]), {})
    return {
        "portal_url": f"{url}/",
        "api_url": f"{url}/api/v2",
        "ca_file": str(layout.certificate),
        "username": str(layout.setting("identity_local", "administrator", "admin")),
        "password_file": str(layout.password_file),
        "node": {
            "id": node.get("id"),
            "name": node.get("name"),
            "roles": node.get("roles"),
            "state": node.get("state"),
        },
        "accelerator": node.get("accelerator"),
        "instances": [
            {
                "id": each["id"],
                "name": each["name"],
                "state": each["state"]["observed"],
                "addresses": addresses(each),
            }
            for each in client.items("/instances")
        ],
    }


def for_people(status: Json, layout: Layout, page_address: str | None = None) -> str:
    """Return the last words of a good start; pure."""
    nano = f"{_as_root()}{_short(layout)}/nano{layout.options}"
    password = layout.password_file
    rows = [("Portal", status["portal_url"]), ("User", status["username"])]
    with suppress(OSError):
        rows.append(("Password", f"{password.read_text(encoding='utf-8').strip()}   (kept in {password})"))
    if page_address:
        rows.append(("Instance", f"hello is up: http://{page_address}/"))
    lines = ["", "Nano is running.", "", *(f"  {name + ':':<11}{text}" for name, text in rows), ""]
    lines += [
        "  The portal's certificate was made on this machine, so the browser asks once whether to trust it.",
        "",
        "  Console:           in the portal (Instances, hello, Console), or",
        f"                     {nano} console hello",
        f"  All instances:     {nano} instance list",
        f"  Add another node:  {nano} invite",
        "                     and on the other machine:  ./quickstart --role cell --join TOKEN",
        f"  Stop:              ./quickstart --stop{layout.options}",
        f"  Remove it all:     ./quickstart --uninstall{layout.options}",
        "",
    ]
    return "\n".join(lines)


def status_lines(status: Json) -> str:
    """Return ``--status`` for people; pure."""
    node = status["node"]
    roles, guests = ", ".join(node["roles"] or []), status["accelerator"] or "nothing yet"
    lines = [
        f"Nano is running on node {node['name']} ({roles}); guests run with {guests}.",
        f"Portal: {status['portal_url']}   user {status['username']}, password in {status['password_file']}",
    ]
    rows = [f"  {each['name']:<24}{each['state']:<12}{', '.join(each['addresses'])}" for each in status["instances"]]
    return "\n".join([*lines, *rows])


def machine_address() -> str:
    """Return the address of the interface with the default route, else the loopback's; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody's; a datagram socket only looks up the route
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _as_root() -> str:
    """Return what goes before a command; a bare machine may have no sudo, and then its user is root."""
    return "sudo " if shutil.which("sudo") else ""


def _short(layout: Layout) -> str:
    folder = layout.program("nano").parent
    with suppress(ValueError):
        return str(folder.relative_to(CHECKOUT))
    return str(folder)
