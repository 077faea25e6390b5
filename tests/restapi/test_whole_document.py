"""Generated requests over the whole published description, to a real node with simulated cells.

Nothing fails inside, every answer is one that the description names, and nothing holds the event loop for 100 ms: the
node's own watch of its loop tells, with the place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess
from tests.security.site import Site
from tests.system.acts import create, upload

pytestmark = pytest.mark.process

CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,status_code_conformance"
SKIPPED = "^/api/v2/(events|consoles|uploads|instances/{id}/console$)"  # WebSockets, and tus
CONFIG = SIM_CONFIG.replace("strict = true", "strict = false\nloop_limit_seconds = 0.1")
"""Not strict: that encodes and decodes every local message once more, for the tests' sake, on the loop."""


@pytest.fixture
def site(tmp_path: Path, small_image: Path) -> Iterator[Site]:
    """A node with something of everything."""
    kernel = KernelProcess(tmp_path / "node", CONFIG)
    kernel.start()
    try:
        kernel.wait_ready()
        image = upload(kernel, small_image)
        for number in range(3):
            kernel.client.wait(create(kernel, f"web-{number}", image))
        yield Site(kernel)
    finally:
        kernel.stop()


def generate(site: Site, folder: Path, *options: str, seconds: int) -> str:
    """Run schemathesis against the node; return what it printed."""
    # That nothing has room, or that a part is away, is an answer too; what fails inside is 500.
    settings = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 503, 504]\n'
    (folder / "schemathesis.toml").write_text(settings, encoding="utf-8")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"https://{site.host}/api/v2/openapi.json"),
        *("--url", f"https://{site.host}", "--tls-verify", str(site.kernel.root / "var/lib/nano/restapi/tls/ca.pem")),
        *("--header", f"Authorization: Bearer {site.admin}", "--exclude-path-regex", SKIPPED, "--checks", CHECKS),
        *("--continue-on-failure", "--request-timeout", "30", "--no-color", "--seed", os.environ.get("NANO_SEED", "7")),
        *("--max-time", str(seconds), "--warnings", "off", *options),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=seconds * 3 + 120)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    return done.stdout


def stalls(site: Site) -> list[dict[str, Any]]:
    """Return what held the loop, except where the machine gave it no processor."""
    told = [line for line in site.kernel.log_lines() if line["event"].startswith("the event loop was blocked")]
    for line in told:
        print(f"loop held {line['seconds']} s ({line['cpu_seconds']} s of processor) at {line['at']}")
    return [line for line in told if line["cpu_seconds"] >= 0.1]


def check_node(site: Site) -> None:
    site.kernel.check_alive()
    assert site.kernel.client.get("/system")["instances"] >= 0
    incidents = [line for line in site.kernel.log_lines() if "exception" in line or line["level"] == "critical"]
    assert not incidents, incidents[:3]
    assert not stalls(site)


@pytest.mark.timeout(400)
def test_some_requests_for_every_operation(site: Site, tmp_path: Path) -> None:
    output = generate(site, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "4", seconds=100)
    print("\n".join(output.splitlines()[-12:]))
    check_node(site)


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_many_requests_also_one_after_the_other(site: Site, tmp_path: Path) -> None:
    phases = "examples,coverage,fuzzing,stateful"
    output = generate(site, tmp_path, "--phases", phases, "--max-examples", "60", seconds=700)
    print("\n".join(output.splitlines()[-12:]))
    check_node(site)
