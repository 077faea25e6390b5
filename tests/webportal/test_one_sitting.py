"""One sitting with a real Debian in the browser: from an uploaded ISO to five clones, and back to an empty node."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect, sync_playwright

from nanocore.testing.kernel_process import KernelProcess, wait_until
from tests.system import real
from tests.system.acts import wait_for_state
from tests.webportal.pages import Portal, launch, portal, screen_colours
from tests.webportal.test_portal import ARTEFACTS, base_url, log_in

pytestmark = [
    pytest.mark.system,
    pytest.mark.portal,
    pytest.mark.needs("libvirt", "qemu", "namespaces", "chromium", "node"),
    pytest.mark.timeout(2400),
]
MIB = 1024**2
SLOW = 180_000
"""Milliseconds that an operation may take on a busy machine."""
BOOT_SECONDS = 900.0
"""A Debian under software emulation, with other work beside it."""
RESCUE_ISO = Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
CLONES = tuple(f"clone-{number}" for number in range(1, 6))


@dataclass
class Login:
    """The sitting's user in the guest, over SSH."""

    address: str
    key: Path

    def run(self, command: str) -> str:
        """Run a command in the guest and return its output."""
        options = [
            f"-o{each}" for each in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
        ]
        done = subprocess.run(
            ["ssh", *options, "-oConnectTimeout=30", "-i", str(self.key), f"ada@{self.address}", command],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A fresh SSH key."""
    file = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return file


@pytest.fixture
def tab(real_portal: KernelProcess) -> Iterator[Portal]:
    """The portal in Chromium, logged in; it may do nothing wrong."""
    with sync_playwright() as playwright:
        browser: Browser = launch(playwright)
        with portal(browser, base_url(real_portal)) as made:
            log_in(made, real_portal)
            yield made
            made.faults.check()
        browser.close()


def test_from_an_iso_to_an_empty_node(real_portal: KernelProcess, tab: Portal, debian_image: Path, key: Path) -> None:
    upload(tab, "/media-images", RESCUE_ISO, "rescue")
    boot_from_media(real_portal, tab)
    upload(tab, "/disk-images", debian_image, "debian")
    create_with_first_boot(tab, key)
    instance = ready(real_portal, "ada-1")
    tab.open(f"/instances/{instance['id']}?tab=guest")
    tab.shoot(ARTEFACTS, "sitting-guest")
    login = Login(instance["nics"][0]["addresses"][0], key)
    assert login.run("hostname") == "ada-1"
    add_and_grow_a_disk(tab, instance["id"], login)
    change_and_restore(real_portal, tab, instance["id"], login)
    build_and_clone(real_portal, tab)
    stop_and_delete(tab, (*CLONES, "ada-1", "rescue"))
    nothing_is_left(real_portal)


def upload(tab: Portal, place: str, file: Path, name: str) -> None:
    """Upload a file on the page of its noun, and wait for the inspection's verdict."""
    tab.open(place)
    tab.page.get_by_role("button", name=re.compile("^Upload")).first.click()
    dialog = tab.page.get_by_role("dialog")
    dialog.locator("input[type=file]").set_input_files(file)
    dialog.get_by_label("Name", exact=True).fill(name)
    dialog.get_by_role("button", name="Upload", exact=True).click()
    expect(tab.page.get_by_role("row").filter(has_text=name)).to_contain_text("Ready", timeout=SLOW)


def choose(tab: Portal, scope: Locator, label: str, option: str) -> None:
    """Take an entry of a drop-down list."""
    scope.get_by_role("button", name=re.compile(f"^{label}")).click()
    tab.page.get_by_role("option", name=re.compile(rf"\b{option}\b")).click()


def boot_from_media(kernel: KernelProcess, tab: Portal) -> None:
    """A blank instance boots the ISO; its boot menu obeys the keys that are typed in the browser."""
    tab.open("/instances/create")
    form = tab.page.locator("#content")
    form.get_by_label("Name", exact=True).fill("rescue")
    choose(tab, form, "Disk image", "Blank disk")
    form.get_by_label("Memory (MiB)").fill("128")
    form.get_by_label("Boot disk (GiB)").fill("0.125")
    form.get_by_role("button", name=re.compile("^Media")).first.click()
    choose(tab, form, "Media images", "rescue")
    tab.page.keyboard.press("Escape")
    form.get_by_role("button", name="Create", exact=True).click()
    expect(tab.page).to_have_url(re.compile("/instances$"), timeout=SLOW)
    id = wait_until(lambda: kernel.client.get("/instances", name="rescue")["items"], what="the instance")[0]["id"]
    wait_for_state(kernel, id, "running")
    tab.open(f"/instances/{id}?tab=console")
    screen = tab.page.get_by_test_id("console-screen")
    expect(screen).to_have_attribute("data-status", "connected", timeout=SLOW)
    wait_until(lambda: screen_colours(tab.page) > 1, seconds=BOOT_SECONDS, what="GRUB's menu")
    tab.shoot(ARTEFACTS, "sitting-rescue")
    screen.click()

    def is_stopped() -> bool:
        # The menu takes no keys before it is complete, and `halt` in its shell powers off.
        tab.page.keyboard.press("c")
        tab.page.keyboard.type("halt\n", delay=100)
        return bool(kernel.client.get(f"/instances/{id}")["state"]["observed"] == "stopped")

    wait_until(is_stopped, seconds=120, what="the boot menu to obey `halt`")
    assert "tab=console" in tab.page.url, "what was typed for the guest went to the portal's shortcuts"


def create_with_first_boot(tab: Portal, key: Path) -> None:
    """Create an instance with a user and an SSH key."""
    tab.open("/instances/create")
    form = tab.page.locator("#content")
    form.get_by_label("Name", exact=True).fill("ada-1")
    choose(tab, form, "Disk image", "debian")
    form.get_by_label("Memory (MiB)").fill("512")
    form.get_by_role("button", name=re.compile("^First boot")).click()
    form.get_by_label("User name").fill("ada")
    form.get_by_label("SSH public keys").fill(key.with_suffix(".pub").read_text().strip())
    form.get_by_role("button", name="Create", exact=True).click()
    expect(tab.page).to_have_url(re.compile("/instances$"), timeout=SLOW)


def ready(kernel: KernelProcess, name: str) -> dict[str, Any]:
    """Return the instance once its guest says that it is ready."""

    def look() -> dict[str, Any] | None:
        found = kernel.client.get("/instances", name=name)["items"]
        return found[0] if found and found[0]["ready"]["is_ready"] else None

    return wait_until(look, seconds=BOOT_SECONDS, what=f"{name} to be ready")


def add_and_grow_a_disk(tab: Portal, id: str, login: Login) -> None:
    """The running guest sees a new disk, and sees it grow."""
    tab.open(f"/instances/{id}?tab=disks")
    tab.page.get_by_role("button", name="Add disk").first.click()
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_label("Size (GiB)").fill("0.0625")
    dialog.get_by_label("Name", exact=True).fill("data")
    dialog.get_by_role("button", name="Add disk").click()
    row = tab.page.get_by_role("row").filter(has_text="data")
    expect(row).to_contain_text("64 MiB", timeout=SLOW)
    wait_until(lambda: str(64 * MIB) in sizes(login), seconds=120, what="the disk in the guest")
    row.get_by_role("button", name="Actions of data").click()
    tab.page.get_by_role("menuitem", name="Edit or resize").click()
    dialog.get_by_label("Size (GiB)").fill("0.125")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("128 MiB", timeout=SLOW)
    wait_until(lambda: str(128 * MIB) in sizes(login), seconds=120, what="the new size in the guest")


def sizes(login: Login) -> list[str]:
    """Return the sizes in bytes of the disks that the guest sees."""
    return login.run("lsblk -bdnro SIZE").split()


def change_and_restore(kernel: KernelProcess, tab: Portal, id: str, login: Login) -> None:
    """A snapshot brings back what was changed after it."""
    login.run("echo before > kept && sync")
    tab.open(f"/instances/{id}?tab=snapshots")
    tab.page.get_by_role("button", name="Take snapshot").first.click()
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("clean")
    dialog.get_by_role("button", name="Take snapshot").click()
    row = tab.page.get_by_role("row").filter(has_text="clean")
    expect(row).to_contain_text("Current", timeout=SLOW)
    login.run("echo after > kept && sync")
    started = kernel.client.get(f"/instances/{id}")["started_at"]
    row.get_by_role("button", name="Actions of clean").click()
    tab.page.get_by_role("menuitem", name="Restore").click()
    dialog.get_by_role("textbox").fill("ada-1")
    dialog.get_by_role("button", name="Restore", exact=True).click()
    wait_until(
        lambda: kernel.client.get(f"/instances/{id}")["started_at"] not in (None, started), seconds=180, what="restore"
    )
    ready(kernel, "ada-1")
    assert login.run("cat kept") == "before"


def build_and_clone(kernel: KernelProcess, tab: Portal) -> None:
    """Build an image from the running instance, and five instances from that."""
    tab.open("/disk-images")
    tab.page.get_by_role("button", name="More", exact=True).click()
    tab.page.get_by_role("menuitem", name="Build from instance").click()
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("golden")
    choose(tab, dialog, "Instance", "ada-1")
    dialog.get_by_role("button", name="Build", exact=True).click()
    expect(tab.page.get_by_role("row").filter(has_text="golden")).to_contain_text("Ready", timeout=SLOW)
    tab.open("/instances/create")
    form = tab.page.locator("#content")
    form.get_by_label("Name", exact=True).fill("clone-{n}")
    form.get_by_label("How many").fill(str(len(CLONES)))
    choose(tab, form, "Disk image", "golden")
    form.get_by_label("Memory (MiB)").fill("256")
    form.get_by_role("button", name="Create", exact=True).click()
    expect(tab.page).to_have_url(re.compile("/instances$"), timeout=SLOW)
    for name in CLONES:
        expect(tab.page.get_by_role("row").filter(has_text=name)).to_contain_text("Running", timeout=SLOW)
    addresses = {real.instance_of(kernel, name)["nics"][0]["addresses"][0] for name in CLONES}
    assert len(addresses) == len(CLONES)
    tab.shoot(ARTEFACTS, "sitting-clones")


def stop_and_delete(tab: Portal, names: tuple[str, ...]) -> None:
    """Cut the power of all that run, delete all, and look at each result."""
    page = tab.page
    tab.open("/instances")
    dialog = page.get_by_role("dialog")
    for action in ("Power off", "Delete"):
        for name in names:
            page.get_by_role("row").filter(has_text=name).get_by_role("checkbox").check()
        page.get_by_role("button", name="More actions").click()
        page.get_by_role("menuitem", name=action, exact=True).click()
        dialog.get_by_role("button", name=action, exact=True).click()
        for name in names if action == "Delete" else names[:-1]:
            expect(dialog).to_contain_text(f"{name}: done", timeout=SLOW)
        tab.shoot(ARTEFACTS, f"sitting-{action.lower().replace(' ', '-')}")
        dialog.get_by_role("button", name="Close").last.click()


def nothing_is_left(kernel: KernelProcess) -> None:
    """No instance, no volume, no port, no unfinished operation; ``real_node`` looks at the machine."""
    assert kernel.client.get("/instances")["items"] == []
    assert kernel.client.get("/volumes")["items"] == []
    assert real.volume_files(kernel) == set()
    assert real.ports(kernel) == set()
    assert kernel.client.get("/operations", state="running,pending")["items"] == []
