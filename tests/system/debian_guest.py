"""A running Debian guest in a test's hands: SSH from this machine, and cloud-init run again with other user-data."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanocore.testing.kernel_process import KernelProcess
from tests.system.acts import MIB, create, upload

BOOT_SECONDS = 900.0
"""Some fifty under software emulation on an idle machine; a deadline costs nothing when the guest comes earlier."""
SSH_SECONDS = 900
LOOK_SECONDS = 0.5
USER = "ada"


class DebianGuest:
    """An instance made from ``debian_image``; ``key`` is the private key whose public half its user has."""

    def __init__(self, kernel: KernelProcess, id: str, address: str, key: Path, user: str = USER) -> None:
        self.kernel = kernel
        self.id = id
        self.address = address
        self._key = key
        self._user = user
        self.first: dict[str, Any] = {}
        """What was known of its inside when it became ready for the first time."""

    def instance(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        found: dict[str, Any] = self.kernel.client.get(f"/instances/{self.id}")
        return found

    def guest(self) -> dict[str, Any]:
        """Return what is known of its inside."""
        found: dict[str, Any] = self.kernel.client.get(f"/instances/{self.id}/guest")
        return found

    def wait(self, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Return what is known of its inside once ``condition`` holds of it."""
        ends = time.monotonic() + BOOT_SECONDS
        while not condition(seen := self.guest()):
            assert time.monotonic() < ends, f"{what} did not come; last seen: {seen}"
            # Minutes of asking fifty times a second would slow down the guest that is waited for.
            time.sleep(LOOK_SECONDS)
        return seen

    def wait_ready(self) -> dict[str, Any]:
        """Return what is known of its inside once it is ready."""
        return self.wait(lambda guest: guest["ready"]["is_ready"], "the guest to be ready")

    def run(self, script: str, *, is_checked: bool = True) -> str:
        """Run a shell script as root by SSH; return what it printed."""
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=60"]
        options += ["IdentitiesOnly=yes", "BatchMode=yes"]
        done = subprocess.run(
            [
                "ssh",
                "-i",
                str(self._key),
                *(word for option in options for word in ("-o", option)),
                f"{self._user}@{self.address}",
                "sudo sh -s",
            ],
            input=script,
            capture_output=True,
            text=True,
            check=False,
            timeout=SSH_SECONDS,
        )
        assert done.returncode == 0 or not is_checked, f"{script[-300:]}: {done.stdout}{done.stderr}"
        return done.stdout

    def boot_again_with(self, user_data: str, *, is_waiting: bool = True) -> None:
        """Run cloud-init's four services as a first boot with ``user_data`` does, without the minute that a boot takes.

        The seed folder is read like the seed drive; the drive itself is hidden by its label.
        """
        encoded = base64.b64encode(user_data.encode()).decode()
        final = "cloud-init modules --mode=final" if is_waiting else "setsid cloud-init modules --mode=final"
        end = "; true" if is_waiting else " </dev/null >/dev/null 2>&1 & true"
        self.run(
            f"""
            cloud-init clean --logs
            mkdir -p /var/lib/cloud/seed/nocloud
            echo '{encoded}' | base64 -d >/var/lib/cloud/seed/nocloud/user-data
            echo "instance-id: case-$(date +%s%N)" >/var/lib/cloud/seed/nocloud/meta-data
            printf 'datasource:\\n  NoCloud:\\n    fs_label: null\\n' >/etc/cloud/cloud.cfg.d/99-case.cfg
            (cloud-init init --local; cloud-init init; cloud-init modules --mode=config) </dev/null >/dev/null 2>&1
            ({final}) </dev/null >/dev/null 2>&1{end}
            """
        )


def make_key(folder: Path) -> Path:
    """Return the private half of a new pair of SSH keys."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@example", "-f", str(key)], check=True)
    return key


def create_debian(kernel: KernelProcess, image: Path, folder: Path, **more: Any) -> DebianGuest:
    """Create and start an instance with a user of ours; does not wait until it is ready."""
    key = make_key(folder)
    public = key.with_suffix(".pub").read_text().strip()
    image_id = upload(kernel, image, "debian")
    cloud_init = {"username": USER, "ssh_keys": [public]} | more.pop("cloud_init", {})
    operation = create(
        kernel, "debian-1", image_id, memory_bytes=512 * MIB, disk_size_bytes=2048 * MIB, cloud_init=cloud_init, **more
    )
    ended = kernel.client.wait(operation, timeout_seconds=BOOT_SECONDS)
    assert ended["state"] == "succeeded", ended
    result = ended["result"]
    return DebianGuest(kernel, result["instance_id"], result["addresses"][0], key)
