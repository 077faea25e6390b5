"""What people do in the portal with everything that an instance can have: in Chromium, against a simulated node."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect, sync_playwright

from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until
from nanoplugins.webportal.build import UI
from tests.system import real
from tests.webportal.pages import WIDE, Look, Portal, launch, portal
from tests.webportal.people import MIB, ask, people, small_image
from tests.webportal.test_portal import ARTEFACTS, base_url, log_in

pytestmark = [
    pytest.mark.system,
    pytest.mark.portal,
    pytest.mark.needs("chromium", "node"),
    pytest.mark.timeout(900),
]
IMPORTS = '\n[images]\nimport_allowed_networks = ["127.0.0.0/8"]\n'
SLOW = 60_000
"""Milliseconds that an operation may take on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once for all tests here."""
    with sync_playwright() as playwright:
        made = launch(playwright)
        yield made
        made.close()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """A simulated node with one of everything."""
    folder = tmp_path_factory.mktemp("flows")
    process = KernelProcess(folder, SIM_CONFIG.replace('"-webportal"', '"-kvm"') + IMPORTS)
    process.start()
    try:
        process.wait_ready()
        people(process, folder)
        yield process
    finally:
        process.stop()


@pytest.fixture
def tab(kernel: KernelProcess, browser: Browser) -> Iterator[Portal]:
    """A tab that is logged in and may do nothing wrong."""
    with portal(browser, base_url(kernel), Look(width=WIDE)) as made:
        log_in(made, kernel)
        yield made
        made.faults.check()


def boot_sector() -> bytes:
    """Return a boot sector with one partition: without, a raw file is taken for no disk."""
    partition = bytes([0x80, 0, 0, 0, 0x83, 0, 0, 0]) + (1).to_bytes(4, "little") + (100).to_bytes(4, "little")
    return bytes(446) + partition.ljust(64, b"\0") + b"\x55\xaa"


def choose(tab: Portal, scope: Locator, label: str, option: str) -> None:
    """Take an entry of a drop-down list."""
    scope.get_by_role("button", name=re.compile(f"^{label}")).click()
    tab.page.get_by_role("option", name=re.compile(f"^{option}")).click()


def test_an_instance_with_all_options_from_the_form_to_its_end(kernel: KernelProcess, tab: Portal) -> None:
    page = tab.page
    tab.open("/instances/create")
    form = page.locator("#content")
    form.get_by_label("Name", exact=True).fill("full-{n}")
    form.get_by_label("How many").fill("3")
    form.get_by_label("Memory (MiB)").fill("64")
    form.get_by_role("button", name=re.compile("^More disks")).click()
    form.get_by_role("button", name="Add disk").click()
    disk = form.get_by_role("group", name="Disk 2")
    disk.get_by_label("Size (GiB)").fill("0.0625")
    form.get_by_role("button", name=re.compile("^First boot")).click()
    form.get_by_label("User name").fill("ann")
    form.get_by_label("SSH public keys").fill("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE8Z3 ann@example")
    form.get_by_role("button", name=re.compile("^Limits")).click()
    form.get_by_label("Disk operations a second").fill("500")
    form.get_by_label("Tags").fill("all, options")
    form.get_by_role("button", name="Create", exact=True).click()
    expect(page).to_have_url(re.compile("/instances$"), timeout=SLOW)
    for name in ("full-1", "full-2", "full-3"):
        row = page.get_by_role("row").filter(has_text=name)
        expect(row).to_contain_text("Running", timeout=SLOW)
    made = real.instance_of(kernel, "full-1")
    assert len(made["disks"]) == 2
    assert made["qos"]["disk_iops"] == 500
    assert made["tags"] == ["all", "options"]
    assert made["has_cloud_init"]
    stop_and_delete(tab, ("full-1", "full-2", "full-3"))
    left = [item["name"] for item in kernel.client.get("/instances", limit=1000)["items"]]
    assert not [name for name in left if name.startswith("full-")]


def stop_and_delete(tab: Portal, names: tuple[str, ...]) -> None:
    """Stop some of a mixed selection, then delete all of it, and look at each result."""
    page = tab.page
    for name in names:
        page.get_by_role("row").filter(has_text=name).get_by_role("checkbox").check()
    page.get_by_role("row").filter(has_text="database").get_by_role("checkbox").check()
    page.get_by_role("button", name="Stop", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Stop possible for 3")
    expect(dialog).to_contain_text("1 not possible")
    dialog.get_by_role("button", name="Stop", exact=True).click()
    for name in names:
        expect(dialog).to_contain_text(f"{name}: done", timeout=SLOW)
    dialog.get_by_role("button", name="Close").last.click()
    for name in names:
        row = page.get_by_role("row").filter(has_text=name)
        expect(row).to_contain_text("Stopped", timeout=SLOW)
        row.get_by_role("checkbox").check()
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Delete").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    for name in names:
        expect(dialog).to_contain_text(f"{name}: done", timeout=SLOW)
    tab.shoot(ARTEFACTS, "bulk-delete")
    dialog.get_by_role("button", name="Close").last.click()


def test_errors_stand_at_their_fields(tab: Portal) -> None:
    tab.open("/instances/create")
    form = tab.page.locator("#content")
    form.get_by_label("Name", exact=True).fill("Not A Host Name")
    form.get_by_role("button", name=re.compile("^More disks")).click()
    form.get_by_role("button", name="Add disk").click()
    form.get_by_role("group", name="Disk 2").get_by_label("Size (GiB)").fill("-1")
    form.get_by_role("button", name="Create", exact=True).click()
    name = form.get_by_label("Name", exact=True).first
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_be_focused()
    expect(form.get_by_role("group", name="Disk 2").get_by_label("Size (GiB)")).to_have_attribute(
        "aria-invalid", "true"
    )
    tab.shoot(ARTEFACTS, "field-errors")
    tab.faults.found.clear()  # the refusal itself is told as 400


def test_a_snapshot_is_taken_restored_and_deleted(kernel: KernelProcess, tab: Portal) -> None:
    id = real.instance_of(kernel, "web-1")["id"]
    page = tab.page
    tab.open(f"/instances/{id}?tab=snapshots")
    page.get_by_role("button", name="Take snapshot").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("first")
    dialog.get_by_role("button", name="Take snapshot").click()
    row = page.get_by_role("row").filter(has_text="first")
    expect(row).to_contain_text("Current", timeout=SLOW)
    for action, more in (("Restore", "web-1"), ("Delete", None)):
        row.get_by_role("button", name="Actions of first").click()
        page.get_by_role("menuitem", name=action).click()
        if more:
            dialog.get_by_role("textbox").fill(more)
        dialog.get_by_role("button", name=action, exact=True).click()
        expect(dialog).to_have_count(0)
        expect(page.get_by_text(f"{action} snapshot first").first).to_be_visible()
        expect(page.get_by_text(f"{action} snapshot first")).to_have_count(0, timeout=SLOW)
    expect(row).to_have_count(0, timeout=SLOW)
    assert kernel.client.get(f"/instances/{id}/snapshots")["items"] == []


def test_media_go_in_and_out_from_the_console(kernel: KernelProcess, tab: Portal) -> None:
    id = real.instance_of(kernel, "web-1")["id"]
    page = tab.page
    tab.open(f"/instances/{id}?tab=console")
    page.get_by_role("button", name="Insert media").click()
    dialog = page.get_by_role("dialog")
    choose(tab, dialog, "Media image", "tools")
    dialog.get_by_role("button", name="Insert", exact=True).click()
    eject = page.get_by_role("button", name="Eject tools")
    expect(eject).to_be_visible(timeout=SLOW)
    assert kernel.client.get(f"/instances/{id}")["media"][0]["media_image"] == "tools"
    eject.click()
    expect(page.get_by_role("button", name="Insert media")).to_be_visible(timeout=SLOW)


def test_an_upload_pauses_and_goes_on_after_a_reload(kernel: KernelProcess, tab: Portal, tmp_path: Path) -> None:
    file = tmp_path / "big.raw"
    with file.open("wb") as out:
        out.write(boot_sector())
        out.truncate(40 * MIB)
    page = tab.page
    # Slow enough to be caught in the middle.
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1}
    session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": 4 * MIB})
    tab.open("/disk-images")
    page.get_by_role("button", name="Upload image").first.click()
    dialog = page.get_by_role("dialog")
    dialog.locator("input[type=file]").set_input_files(file)
    dialog.get_by_role("button", name="Upload", exact=True).click()
    row = page.get_by_role("row").filter(has_text="big")
    row.get_by_role("button", name="Pause").click()
    resume = row.get_by_role("button", name="Resume")
    expect(resume).to_be_visible()
    resume.click()
    pause = row.get_by_role("button", name="Pause")
    expect(pause).to_be_visible()
    id = wait_until(lambda: kernel.client.get("/disk-images", name="big")["items"], what="the image")[0]["id"]
    wait_until(lambda: kernel.client.get(f"/disk-images/{id}")["uploaded_bytes"] > 0, seconds=60, what="some bytes")
    pause.click()
    expect(resume).to_be_visible()
    sent = kernel.client.get(f"/disk-images/{id}")["uploaded_bytes"]
    assert 0 < sent < 40 * MIB
    session.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})
    page.reload()
    tab.settle()
    with page.expect_file_chooser() as chosen:
        row.get_by_role("button", name="Choose the file again to go on").click()
    chosen.value.set_files(file)
    expect(row).to_contain_text("Ready", timeout=SLOW)
    assert kernel.client.get(f"/disk-images/{id}")["virtual_size_bytes"] == 40 * MIB
    tab.faults.found = [fault for fault in tab.faults.found if "ERR_ABORTED" not in fault]


def test_keyboard_alone_creates_and_deletes(kernel: KernelProcess, tab: Portal) -> None:
    page = tab.page
    tab.open("/volumes")
    page.get_by_role("button", name="Create volume").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("by-keyboard")
    page.keyboard.press("Enter")
    row = page.get_by_role("row").filter(has_text="by-keyboard")
    expect(row).to_be_visible(timeout=SLOW)
    wait_until(
        lambda: kernel.client.get("/volumes", name="by-keyboard", state="ready")["items"], seconds=60, what="the volume"
    )
    row.get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Delete", exact=True).focus()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("by-keyboard: done", timeout=SLOW)
    page.keyboard.press("Escape")
    expect(row).to_have_count(0)


def test_search_finds_and_goes_there(kernel: KernelProcess, tab: Portal) -> None:
    tab.open("/")
    tab.page.keyboard.press("Control+k")
    box = tab.page.get_by_role("combobox", name="Search")
    expect(box).to_be_focused()
    tab.page.keyboard.type("web-2")
    expect(tab.page.get_by_role("option", name=re.compile("^web-2"))).not_to_have_count(0)
    tab.page.get_by_role("option", name=re.compile("^web-2.*Instances")).first.click()
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("web-2")
    assert real.instance_of(kernel, "web-2")["id"] in tab.page.url
    ask(kernel, f"/instances/{real.instance_of(kernel, 'web-2')['id']}", method="PATCH", description="found")
    expect(tab.page.get_by_text("found", exact=True)).to_be_visible()


@pytest.fixture
def web_site(tmp_path: Path) -> Iterator[str]:
    """A web site with a disk image."""
    (tmp_path / "site").mkdir()
    small_image(tmp_path).rename(tmp_path / "site" / "a.qcow2")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_images_are_imported_and_built_and_copies_removed(kernel: KernelProcess, tab: Portal, web_site: str) -> None:
    page = tab.page
    dialog = page.get_by_role("dialog")
    tab.open("/disk-images")
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("menuitem", name="Import from URL").click()
    dialog.get_by_label("Name", exact=True).fill("fetched")
    dialog.get_by_label("Address", exact=True).fill(f"{web_site}/a.qcow2")
    dialog.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="fetched")).to_contain_text("Ready", timeout=SLOW)
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("menuitem", name="Build from instance").click()
    dialog.get_by_label("Name", exact=True).fill("built")
    choose(tab, dialog, "Instance", "database")
    dialog.get_by_role("button", name="Build", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="built")).to_contain_text("Ready", timeout=SLOW)
    needed = kernel.client.get("/disk-images", name="debian-12")["items"][0]["id"]
    tab.open(f"/disk-images/{needed}")
    page.get_by_role("button", name="Remove copy: core-1").click()
    expect(page.get_by_text("it is needed on that cell")).to_be_visible(timeout=SLOW)
    tab.faults.found.clear()  # the refusal is told as 409


def test_an_instance_is_cloned_and_rebuilt(kernel: KernelProcess, tab: Portal) -> None:
    page = tab.page
    dialog = page.get_by_role("dialog")
    tab.open(f"/instances/{real.instance_of(kernel, 'database')['id']}")
    pick(tab, "Clone")
    dialog.get_by_label("Name", exact=True).fill("copied")
    dialog.get_by_role("button", name="Clone", exact=True).click()
    expect(dialog).to_have_count(0)
    id = wait_until(lambda: kernel.client.get("/instances", name="copied")["items"], seconds=60, what="the clone")[0][
        "id"
    ]
    wait_until(
        lambda: kernel.client.get(f"/instances/{id}")["state"]["observed"] == "stopped", seconds=60, what="its disks"
    )
    tab.open(f"/instances/{id}")
    pick(tab, "Rebuild")
    dialog.get_by_role("button", name="Rebuild", exact=True).click()
    expect(dialog).to_have_count(0)
    wait_until(
        lambda: kernel.client.get("/operations", kind="instance.rebuild", state="succeeded")["items"],
        seconds=60,
        what="the rebuild",
    )
    kernel.client.wait(kernel.client.request("DELETE", f"/instances/{id}"))


def pick(tab: Portal, *path: str) -> None:
    """Take an entry of the menu of an instance."""
    tab.page.get_by_role("button", name="More actions").click()
    for name in path:
        tab.page.get_by_role("menuitem", name=name).click()


def row_action(tab: Portal, row: Locator, name: str) -> None:
    """Take an entry of the menu of a row."""
    row.get_by_role("button", name=re.compile("^Actions of")).click()
    tab.page.get_by_role("menuitem", name=name).click()


def test_disks_and_network_cards_change_while_it_runs(kernel: KernelProcess, tab: Portal) -> None:
    id = real.instance_of(kernel, "web-1")["id"]
    page = tab.page
    dialog = page.get_by_role("dialog")
    tab.open(f"/instances/{id}?tab=disks")
    page.get_by_role("button", name="Add disk").click()
    dialog.get_by_label("Name", exact=True).fill("logs")
    dialog.get_by_label("Size (GiB)").fill("0.0625")
    dialog.get_by_role("button", name="Add disk").click()
    row = page.get_by_role("row").filter(has_text="logs")
    expect(row).to_contain_text("64 MiB", timeout=SLOW)
    row_action(tab, row, "Edit or resize")
    dialog.get_by_label("Size (GiB)").fill("0.125")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("128 MiB", timeout=SLOW)
    row_action(tab, row, "Detach")
    dialog.get_by_role("button", name="Detach").click()
    expect(row).to_have_count(0, timeout=SLOW)
    assert kernel.client.get("/volumes", name="logs")["items"][0]["instance_id"] is None
    tab.open(f"/instances/{id}?tab=network")
    page.get_by_role("button", name="Add network card").click()
    choose(tab, dialog, "Network", "inner")
    choose(tab, dialog, "Security policy", "web")
    dialog.get_by_role("button", name="Add", exact=True).click()
    card = page.get_by_role("row").filter(has_text="inner")
    expect(card).to_contain_text("web", timeout=SLOW)
    row_action(tab, card, "Change security policy")
    choose(tab, dialog, "Security policy", "None")
    dialog.get_by_role("button", name="Save").click()
    expect(card).not_to_contain_text("web", timeout=SLOW)
    row_action(tab, card, "Remove")
    dialog.get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0, timeout=SLOW)


def test_a_guest_gets_a_password_and_a_host_name(kernel: KernelProcess, tab: Portal) -> None:
    id = real.instance_of(kernel, "web-1")["id"]
    page = tab.page
    dialog = page.get_by_role("dialog")
    tab.open(f"/instances/{id}?tab=guest")
    page.get_by_role("button", name="Set password").click()
    dialog.get_by_label("New password").fill("Secret-word-7")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Set host name").click()
    dialog.get_by_label("Host name").fill("shop")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text("shop", exact=True)).to_be_visible(timeout=SLOW)
    assert kernel.client.get(f"/instances/{id}/guest")["facts"]["hostname"] == "shop"


def test_every_operation_so_far_has_a_name_in_both_languages(kernel: KernelProcess) -> None:
    kinds = {item["kind"].replace(".", "_") for item in kernel.client.items("/operations")}
    assert len(kinds) >= 5
    for language in ("en", "zh-CN"):
        file = UI / "src" / "locales" / language / "operations.json"
        assert kinds <= json.loads(file.read_text(encoding="utf-8"))["kinds"].keys(), language
