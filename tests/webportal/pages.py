"""The portal in Chromium, for tests: log in, watch what goes wrong, crawl every page, look for accessibility faults.

Locators go by role and label; nothing sleeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, Response, expect
from playwright.sync_api import Error as PlaywrightError

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = Path(__file__).parents[2] / "nanoplugins" / "webportal" / "ui" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NETWORK_CHANGED = "net::ERR_NETWORK_CHANGED"
"""What Chromium makes of every connection when a network device comes or goes, as with guests of other tests."""
WIDE = 1366
NARROW = 390

PLACES = (
    "/",
    "/instances",
    "/instances/create",
    "/templates",
    "/templates/create",
    "/compute-pools",
    "/nodes",
    "/disk-images",
    "/media-images",
    "/volumes",
    "/storage-pools",
    "/networks",
    "/address-pools",
    "/security-policies",
    "/operations",
    "/tokens",
    "/plugins",
    "/there-is-no-such-page",
)
TABS: dict[str, tuple[str, ...]] = {
    "instances": ("overview", "console", "disks", "network", "snapshots", "guest", "operations", "settings"),
    "nodes": ("instances", "use", "plugins", "properties"),
    "compute-pools": ("cells", "properties", "use", "instances"),
    "templates": ("",),
    "disk-images": ("",),
    "media-images": ("",),
    "storage-pools": ("",),
    "address-pools": ("",),
}
"""Collections whose items have pages, with the tabs of those."""
DIALOGS = (
    ("/instances/{instances}?tab=disks", "Add disk|添加磁盘"),
    ("/instances/{instances}?tab=network", "Add network card|添加网卡"),
    ("/instances/{instances}?tab=snapshots", "Take snapshot|创建快照"),
    ("/instances/{instances}?tab=snapshots", "Create schedule|创建计划"),
    ("/compute-pools", "Create compute pool|创建计算资源池"),
    ("/compute-pools/{compute-pools}", "Edit|编辑"),
    ("/nodes", "Add node|添加节点"),
    ("/disk-images", "Upload image|上传镜像"),
    ("/volumes", "Create volume|创建卷"),
    ("/storage-pools", "Create storage pool|创建存储池"),
    ("/storage-pools/{storage-pools}", "Add path|添加路径"),
    ("/networks", "Create network|创建网络"),
    ("/address-pools", "Create address pool|创建地址池"),
    ("/address-pools/{address-pools}", "Reserve address|保留地址"),
    ("/security-policies", "Create security policy|创建安全策略"),
    ("/tokens", "Create token|创建令牌"),
)
"""Where a dialog is, and the button that opens it, in both languages."""


@dataclass
class Look:
    """How a crawl sees the portal."""

    theme: str = "light"
    language: str = "en"
    width: int = WIDE

    @property
    def name(self) -> str:
        return f"{self.width}-{self.theme}-{self.language}"


LOOKS = tuple(
    Look(theme, language, width)
    for theme in ("light", "dark")
    for language in ("en", "zh-CN")
    for width in (WIDE, NARROW)
)


@dataclass
class Faults:
    """What a page did wrong; ``check`` raises with all of it."""

    found: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)

    def watch(self, page: Page, base_url: str) -> None:
        """Collect from now on: console errors, exceptions, failed requests, requests to anything but the API."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)
        page.on("request", lambda request: self._asked(request, base_url))

    def check(self) -> None:
        assert not self.found, "\n".join(self.found)
        assert not self.foreign, f"requests to {sorted(self.foreign)}"

    def _console(self, message: ConsoleMessage) -> None:
        # The last is `screen_colours` of these tests, not the portal.
        expected = (NETWORK_CHANGED, "willReadFrequently")
        if message.type in ("error", "warning") and not any(each in message.text for each in expected):
            self.found.append(f"console {message.type}: {message.text[:500]}")

    def _failed(self, request: Request) -> None:
        # Leaving a page aborts what it was still asking for.
        if request.failure not in ("net::ERR_ABORTED", NETWORK_CHANGED):
            self.found.append(f"failed: {request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.found.append(f"{response.status}: {response.request.method} {response.url}")

    def _asked(self, request: Request, base_url: str) -> None:
        url, base = urlsplit(request.url), urlsplit(base_url)
        if url.scheme in ("data", "blob"):
            return
        is_file = request.method == "GET" and not url.path.startswith("/api/")
        if url.netloc != base.netloc or not (is_file or url.path.startswith("/api/v2/")):
            self.foreign.add(request.url)


def launch(playwright: Playwright) -> Browser:
    """Return Debian's Chromium."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))


class Portal:
    """One browser tab with the portal in it."""

    def __init__(self, page: Page, base_url: str, look: Look) -> None:
        self.page = page
        self.base_url = base_url.rstrip("/")
        self.look = look
        self.faults = Faults()
        self.faults.watch(page, base_url)

    def open(self, path: str) -> None:
        """Go to a page and wait until its heading and everything it loads are there."""
        self.go(path)
        self.settle()

    def go(self, path: str) -> None:
        """Load a page; once more when the machine's network changed in the middle of it."""
        try:
            self.page.goto(self.base_url + path)
        except PlaywrightError as error:
            if NETWORK_CHANGED not in error.message:
                raise
            self.page.goto(self.base_url + path)

    def settle(self) -> None:
        """Wait for the heading, and for every spinner to be gone."""
        expect(self.page.get_by_role("heading", level=1).first).to_be_visible(timeout=15_000)
        expect(self.page.locator("[class*=awsui_spinner]")).to_have_count(0, timeout=15_000)

    def log_in(self, username: str, password: str) -> None:
        """Log in by the form; afterwards the overview is shown."""
        self.go("/")
        self.page.locator("input[name=username]").fill(username)
        self.page.locator("input[name=password]").fill(password)
        self.page.locator("input[name=password]").press("Enter")
        expect(self.page.locator("#content").get_by_role("heading", level=1)).to_be_visible(timeout=15_000)

    def get(self, path: str) -> Any:
        """Ask the API with the tab's own session."""
        response = self.page.request.get(f"{self.base_url}/api/v2{path}")
        assert response.ok, f"{path}: {response.status} {response.text()[:300]}"
        return response.json()

    def paths(self) -> Iterator[str]:
        """Every place, with each tab of one of each collection."""
        yield from PLACES
        for noun, tabs in TABS.items():
            for item in self.get(f"/{noun}?limit=1&sort=-name")["items"]:
                yield from (f"/{noun}/{item['id']}" + (f"?tab={tab}" if tab else "") for tab in tabs)
        for item in self.get("/instances?limit=1&state.observed=running")["items"]:
            yield f"/instances/{item['id']}?tab=console&kind=serial"

    def dialogs(self) -> Iterator[tuple[str, str]]:
        """Every dialog, with its page's path."""
        ids = {noun: items[0]["id"] for noun in TABS if (items := self.get(f"/{noun}?limit=1&sort=-name")["items"])}
        for path, button in DIALOGS:
            yield path.format_map(ids), button

    def check_page(self, path: str) -> None:
        """No sideways scroll and no serious accessibility fault on the page that is shown."""
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.look.width, f"{path} is {width} pixels wide at {self.look.width}"
        serious = serious_violations(self.page)
        assert not serious, f"{path}: " + "\n".join(serious)

    def shoot(self, folder: Path, path: str) -> Path:
        """Keep a picture of what is shown."""
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "id", path.strip("/") or "overview")
        target = folder / self.look.name / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=target)
        return target

    def crawl(self, folder: Path) -> int:
        """Open every page, check it, keep its picture; return how many there were."""
        count = 0
        for path in list(self.paths()):
            self.open(path)
            self.check_page(path)
            self.shoot(folder, path)
            count += 1
        for path, button in list(self.dialogs()):
            self.open(path)
            self.page.get_by_role("button", name=re.compile(f"^({button})$")).first.click()
            expect(self.page.get_by_role("dialog")).to_be_visible()
            self.check_page(f"{path} {button}")
            self.shoot(folder, f"{path.split('?')[0]}-{button.split('|')[0]}")
            count += 1
        return count


@contextmanager
def portal(browser: Browser, base_url: str, look: Look | None = None) -> Iterator[Portal]:
    """Open a tab of its own; self-made certificates are accepted."""
    wanted = look or Look()
    context = browser.new_context(
        viewport={"width": wanted.width, "height": 820},
        locale=wanted.language,
        ignore_https_errors=True,
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
    )
    settings = f'{{"theme": "{wanted.theme}", "language": "{wanted.language}"}}'
    context.add_init_script(
        f"localStorage.getItem('nano.preferences') || localStorage.setItem('nano.preferences', '{settings}')"
    )
    try:
        yield Portal(context.new_page(), base_url, wanted)
    finally:
        context.close()


def serious_violations(page: Page, rules: Sequence[str] = RULES) -> list[str]:
    """Return axe's serious and critical findings, one line each."""
    if not page.evaluate("'axe' in window"):
        # By evaluate, as the policy refuses injected script elements.
        page.evaluate(AXE.read_text(encoding="utf-8"))
    answer = page.evaluate("(rules) => axe.run(document, {runOnly: rules})", list(rules))
    return [
        f"{finding['id']}: {node['html'][:200]}"
        for finding in answer["violations"]
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"][:3]
    ]


def screen_colours(page: Page) -> int:
    """Return how many different colours the console's picture has; a blank one has one."""
    return int(
        page.evaluate(
            """() => {
              const canvas = document.querySelector("[data-testid=console-screen] canvas");
              if (!canvas || !canvas.width || !canvas.height) return 0;
              const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              const colours = new Set();
              for (let at = 0; at < pixels.length; at += 4)
                colours.add((pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2]);
              return colours.size;
            }"""
        )
    )
