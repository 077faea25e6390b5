"""The portal in real Chromium against a real node: every page, and the way of an instance with a real screen."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until
from tests.system import real
from tests.system.acts import upload, wait_for_state
from tests.webportal.pages import LOOKS, Look, Portal, launch, portal, screen_colours
from tests.webportal.people import people

pytestmark = [
    pytest.mark.system,
    pytest.mark.portal,
    pytest.mark.needs("chromium", "node"),
    pytest.mark.timeout(900),
]
ARTEFACTS = Path(__file__).parents[2] / "artefacts" / "portal"
CRAWLED = LOOKS if os.environ.get("NANO_FULL") else (LOOKS[0], LOOKS[-1])
"""By default each theme, language and width once; all eight with ``--full``."""
MIB = 1024**2


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, once for all tests here."""
    with sync_playwright() as playwright:
        made = launch(playwright)
        yield made
        made.close()


def base_url(kernel: KernelProcess) -> str:
    """Return where the node's portal is."""
    port = (kernel.root / "run" / "nano" / "restapi" / "address").read_text(encoding="utf-8").strip()
    return f"https://127.0.0.1:{port}"


def log_in(tab: Portal, kernel: KernelProcess) -> None:
    """Log in with the password that was made for the installation."""
    password = (kernel.root / "var" / "lib" / "nano" / "identity_local" / "admin-password").read_text().strip()
    tab.log_in("admin", password)
    tab.faults.found.clear()  # that nobody was logged in before is told as 401


@pytest.fixture(scope="module")
def peopled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """A simulated node with the portal, an image and some instances."""
    folder = tmp_path_factory.mktemp("peopled")
    process = KernelProcess(folder, SIM_CONFIG.replace('"-webportal"', '"-kvm"'))
    process.start()
    try:
        process.wait_ready()
        people(process, folder)
        yield process
    finally:
        process.stop()


@pytest.mark.parametrize("look", CRAWLED, ids=lambda look: look.name)
def test_every_page_is_sound(peopled: KernelProcess, browser: Browser, look: Look) -> None:
    with portal(browser, base_url(peopled), look) as tab:
        log_in(tab, peopled)
        count = tab.crawl(ARTEFACTS)
        tab.faults.check()
    assert count >= 55  # pages, tabs, dialogs, and the serial console of a running instance


def test_actions_on_many_show_a_result_each(peopled: KernelProcess, browser: Browser) -> None:
    for name in ("web-1", "web-2"):
        found = real.instance_of(peopled, name)
        if found["state"]["observed"] != "running":
            path = f"/instances/{found['id']}/actions/start"
            peopled.client.wait(peopled.client.request("POST", path, json={}))
    with portal(browser, base_url(peopled)) as tab:
        log_in(tab, peopled)
        tab.open("/instances")
        for name in ("web-1", "web-2"):
            tab.page.get_by_role("row").filter(has_text=name).get_by_role("checkbox").check()
        tab.page.get_by_role("button", name="Stop", exact=True).click()
        dialog = tab.page.get_by_role("dialog")
        dialog.get_by_role("button", name=re.compile("^Stop")).click()
        for name in ("web-1", "web-2"):
            id = real.instance_of(peopled, name)["id"]
            wait_for_state(peopled, id, "stopped")
        tab.shoot(ARTEFACTS, "bulk-stop")
        tab.faults.check()


def test_a_dead_kernel_shows_and_all_is_right_again(peopled: KernelProcess, browser: Browser) -> None:
    with portal(browser, base_url(peopled)) as tab:
        log_in(tab, peopled)
        tab.open("/instances")
        port = base_url(peopled).rsplit(":", 1)[1]
        peopled.kill()
        expect(tab.page.get_by_role("button", name=re.compile("Reconnecting|Offline")).first).to_be_visible(
            timeout=15_000
        )
        settings = peopled.root / "etc" / "nano" / "nano.toml"
        settings.write_text(settings.read_text().replace("\nport = 0\n", f"\nport = {port}\n"))
        peopled.start()
        peopled.wait_ready()
        expect(tab.page.get_by_role("button", name=re.compile("^Live")).first).to_be_visible(timeout=30_000)
        expect(tab.page.get_by_role("row").filter(has_text="web-1")).to_be_visible()


@pytest.mark.needs("libvirt", "qemu", "namespaces")
def test_a_real_guest_from_the_form_to_its_screen(
    real_portal: KernelProcess, browser: Browser, demo_image: Path
) -> None:
    upload(real_portal, demo_image, "demo")
    with portal(browser, base_url(real_portal)) as tab:
        log_in(tab, real_portal)
        tab.open("/instances/create")
        tab.page.get_by_label("Name", exact=True).fill("hello")
        tab.page.get_by_role("button", name=re.compile("^Create")).last.click()
        found = wait_until(
            lambda: real_portal.client.get("/instances", name="hello")["items"], seconds=30, what="the instance"
        )
        id = found[0]["id"]
        instance = wait_for_state(real_portal, id, "running")
        real.wait_for_page(instance["nics"][0]["addresses"][0], "hello")
        tab.open(f"/instances/{id}?tab=overview")
        tab.shoot(ARTEFACTS, "real-instance")
        tab.open(f"/instances/{id}?tab=console")
        screen = tab.page.get_by_test_id("console-screen")
        expect(screen).to_have_attribute("data-status", "connected", timeout=30_000)
        wait_until(lambda: screen_colours(tab.page) > 1, seconds=30, what="a picture that is not blank")
        tab.shoot(ARTEFACTS, "real-screen")
        tab.open(f"/instances/{id}?tab=console&kind=serial")
        serial = tab.page.get_by_test_id("console-serial")
        expect(serial).to_have_attribute("data-status", "connected", timeout=30_000)
        serial.click()
        tab.page.keyboard.type("echo seen-$((40+2))\n")
        expect(serial).to_contain_text("seen-42", timeout=30_000)
        tab.shoot(ARTEFACTS, "real-serial")
        tab.faults.check()
