"""Many instances that change many times a second: the list stays usable and the page live.

A thousand instances and a hundred changes a second with ``--full``, else a fifth of both. How smooth it was is written
to ``artefacts/portal/many.json``; nothing is asserted about time.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until
from tests.system.acts import create, upload
from tests.webportal.pages import launch, portal
from tests.webportal.people import small_image
from tests.webportal.test_portal import ARTEFACTS, base_url, log_in

pytestmark = [
    pytest.mark.system,
    pytest.mark.portal,
    pytest.mark.needs("chromium", "node"),
    pytest.mark.timeout(900),
]
COUNT, PER_SECOND = (1000, 100) if os.environ.get("NANO_FULL") else (200, 20)
SLOW = 30_000
ROOM = "\n[placement]\nvcpus_per_core = 64\n"
"""A simulated cell has 64 cores."""
WATCHED_SECONDS = 10
WRITERS = 4
SMOOTHNESS = """(seconds) => new Promise((done) => {
  const long = [];
  const watch = new PerformanceObserver((list) => list.getEntries().forEach((entry) => long.push(entry.duration)));
  watch.observe({ type: "longtask" });
  const began = performance.now();
  let frames = 0, last = began, gap = 0;
  const frame = (now) => {
    frames += 1;
    gap = Math.max(gap, now - last);
    last = now;
    if (now - began < seconds * 1000) return requestAnimationFrame(frame);
    watch.disconnect();
    const sum = long.reduce((total, each) => total + each, 0);
    done({ seconds, frames, longest_gap_ms: gap, long_tasks: long.length, long_task_ms: sum });
  };
  requestAnimationFrame(frame);
})"""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelProcess]:
    """A simulated node with many instances."""
    folder = tmp_path_factory.mktemp("crowded")
    process = KernelProcess(folder, SIM_CONFIG.replace('"-webportal"', '"-kvm"') + ROOM)
    process.start()
    try:
        process.wait_ready()
        image_id = upload(process, small_image(folder), "debian-12")
        with ThreadPoolExecutor(WRITERS) as pool:
            names = [f"guest-{number:04}" for number in range(COUNT)]
            list(pool.map(lambda name: create(process, name, image_id, is_started=False), names))
        wait_until(lambda: _made(process) == COUNT, seconds=600, what=f"{COUNT} instances")
        yield process
    finally:
        process.stop()


def _made(kernel: KernelProcess) -> int:
    return int(kernel.client.get("/instances?limit=1&state.observed=stopped")["total"])


@contextmanager
def changing(kernel: KernelProcess) -> Iterator[list[int]]:
    """Change instances all the while; the list's only entry is how many changes there were."""
    ids = [item["id"] for item in kernel.client.get("/instances", limit=1000, sort="name")["items"]]
    stop = threading.Event()
    changes = [0]

    def write(writer: int) -> None:
        number = writer
        due = time.monotonic()
        while not stop.is_set():
            kernel.client.request(
                "PATCH", f"/instances/{ids[number % len(ids)]}", json={"description": f"change {number}"}
            )
            number += WRITERS
            changes[0] += 1
            due += WRITERS / PER_SECOND
            stop.wait(max(0.0, due - time.monotonic()))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield changes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_crowded_list_stays_usable(crowded: KernelProcess) -> None:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        try:
            with portal(browser, base_url(crowded)) as tab:
                log_in(tab, crowded)
                tab.open("/instances?size=100")
                expect(tab.page.get_by_role("row")).to_have_count(101)
                with changing(crowded) as changes:
                    began = changes[0]
                    figures: dict[str, Any] = tab.page.evaluate(SMOOTHNESS, WATCHED_SECONDS)
                    figures |= {"instances": COUNT, "changes": changes[0] - began}
                    _use(tab.page)
                keep(figures)
                last = crowded.client.get("/instances", limit=1, sort="name")["items"][0]
                tab.open(f"/instances/{last['id']}")
                expect(tab.page.get_by_text(last["description"], exact=True)).to_be_visible()
                tab.faults.check()
        finally:
            browser.close()
    assert figures["frames"] > WATCHED_SECONDS


def _use(page: Page) -> None:
    """Filter, select and turn pages while everything changes; the page says that it is live."""
    expect(page.get_by_role("button", name="Live")).to_be_visible(timeout=SLOW)
    box = page.get_by_role("combobox", name="Filter by text or property")
    box.fill("guest-0042")
    box.press("Enter")
    expect(page.get_by_role("row")).to_have_count(2, timeout=SLOW)
    page.get_by_role("checkbox", name="Select: guest-0042").check()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_role("row")).to_have_count(101, timeout=SLOW)
    page.get_by_role("button", name=re.compile(r"^(Page )?2\b")).click()
    expect(page.get_by_role("row").filter(has_text="guest-0100")).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("button", name="Live")).to_be_visible()


def keep(figures: dict[str, Any]) -> None:
    """Write the figures where the pictures are."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    (ARTEFACTS / "many.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
