"""A guest's first-boot settings as the files that cloud-init's NoCloud data source reads. Pure.

``user-data`` is one MIME message: our settings first, then what the user gave as a part of its own, merged so that
lists (users, commands) add up and the user's single values win. ``vendor-data`` makes the guest tell how its boot goes.
"""

from __future__ import annotations

from email import message_from_string
from email.message import Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import yaml

from nanocore.capabilities.guest import EnsureSeed, SeedNic, UserDataKind
from nanoplugins.guest_tools.user_data import kind_of

MERGE = "list(append)+dict(recurse_list,recurse_dict)+str()"
SIGNAL_PORT = "org.nano.ready.0"
"""Name of the virtio port by which a guest without an agent tells how its boot goes."""
PROBE = (Path(__file__).parent / "probe.sh").read_text(encoding="utf-8")
SIGNAL_SECONDS = 3

_TYPES = {
    UserDataKind.CLOUD_CONFIG: "cloud-config",
    UserDataKind.SCRIPT: "x-shellscript",
    UserDataKind.INCLUDE: "x-include-url",
    UserDataKind.BOOTHOOK: "cloud-boothook",
    UserDataKind.JINJA: "jinja2",
    UserDataKind.ARCHIVE: "cloud-config-archive",
}
_BOUNDARY = "==nano-part=="


def seed_files(message: EnsureSeed) -> dict[str, str]:
    """Return name to content of the files of the seed."""
    return {
        "meta-data": _meta_data(message),
        "network-config": network_config(message.nics),
        "user-data": user_data(message),
        "vendor-data": vendor_data(),
    }


def user_data(message: EnsureSeed) -> str:
    """Return our settings and the user's as one MIME message."""
    whole = MIMEMultipart(boundary=_BOUNDARY)
    whole.attach(MIMEText("#cloud-config\n" + _dump(cloud_config(message)), "cloud-config", "utf-8"))
    text = message.cloud_init.user_data
    if text:
        whole.attach(_user_part(text))
    return whole.as_string()


def _user_part(text: str) -> Message:
    kind = kind_of(text)
    if kind is UserDataKind.MULTIPART:
        return message_from_string(text)
    part = MIMEText(text, "plain" if kind is None else _TYPES[kind], "utf-8")
    if kind in {UserDataKind.CLOUD_CONFIG, UserDataKind.JINJA}:
        part.add_header("Merge-Type", MERGE)
    return part


def cloud_config(message: EnsureSeed) -> dict[str, Any]:
    """Return what the settings mean in cloud-init's words."""
    wanted = message.cloud_init
    config: dict[str, Any] = {"hostname": wanted.hostname or message.name, "preserve_hostname": False}
    if wanted.username is not None:
        user: dict[str, Any] = {
            "name": wanted.username,
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": wanted.password_hash is None,
        }
        if wanted.password_hash is not None:
            user["hashed_passwd"] = wanted.password_hash
        if wanted.ssh_keys:
            user["ssh_authorized_keys"] = wanted.ssh_keys
        config["users"] = [user]
        return config
    if wanted.password_hash is not None:
        config["password"] = wanted.password_hash
        config["chpasswd"] = {"expire": False}
    if wanted.ssh_keys:
        config["ssh_authorized_keys"] = wanted.ssh_keys
    return config


def network_config(nics: list[SeedNic]) -> str:
    """Return cloud-init's network configuration, version 2; cards are found by their MAC address."""
    ethernets: dict[str, Any] = {}
    for index, nic in enumerate(nics):
        card: dict[str, Any] = {"match": {"macaddress": nic.mac}, "dhcp4": True}
        if nic.addresses:
            card["addresses"] = nic.addresses
            if nic.gateway is not None:
                card["routes"] = [{"to": "::/0", "via": nic.gateway}]
        ethernets[f"nic{index}"] = card
    return _dump({"version": 2, "ethernets": ethernets})


def vendor_data() -> str:
    """Return a part that runs early at every boot and tells by a virtio port how the boot goes, until it is over."""
    return f"""#cloud-boothook
#!/bin/sh
port=/dev/virtio-ports/{SIGNAL_PORT}
[ -e $port ] || exit 0
cat >/run/nano-probe <<'NANO-END'
{PROBE}NANO-END
setsid sh -c '
while :; do
  [ -e /run/cloud-init/result.json ] && over=1
  sh /run/nano-probe >'$port'
  [ -n "$over" ] && exit
  sleep {SIGNAL_SECONDS}
done' >/dev/null 2>&1 </dev/null &
"""


def _meta_data(message: EnsureSeed) -> str:
    return _dump({"instance-id": message.id, "local-hostname": message.cloud_init.hostname or message.name})


def _dump(value: object) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, width=1000)
    return text
