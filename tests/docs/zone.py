"""A simulated zone in which the commands of a page are typed as a reader would type them.

It begins as ``./quickstart`` leaves a machine: disk image ``demo``, instance ``hello``. Programs that would change the
machine are stood in for by small scripts in front of ``PATH``; ``nano``, the API and the nodes are real.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from nanocore.errors import NanoError
from nanocore.testing.kernel_process import SIM_CONFIG, KernelProcess, wait_until
from tests.docs.blocks import Block, is_as_expected

ROOT = Path(__file__).resolve().parents[2]
BLOCK_SECONDS = 60
SECRET = re.compile(r"\bnano_[\w-]{20,}")
PATHS = re.compile(r"(?<![\w./-])/(etc|run|var/lib)/nano\b")
ADDRESS = "core.example:5870"
"""What the pages call the portal's address."""

PROGRAMS = {
    "sudo": 'exec "$@"',
    # A reader is at a terminal, where nano waits.
    "nano": 'exec "$PYTHON" -c "from nanocore.cli.nano import main; main()" --wait "$@"',
    "nano-kernel": 'exec "$PYTHON" -m nanocore --root "$ROOT" "$@"',
    "pip": '[ "$1" = install ] && shift && exec "$PYTHON" -m pip -q --disable-pip-version-check install --no-index '
    '--no-deps --no-build-isolation --target "$SITE" "$@"',
    "pytest": 'exec "$PYTHON" -m pytest -q -p no:cacheprovider -p no:randomly "$@"',
    "python": 'exec "$PYTHON" "$@"',
    "systemctl": 'case "$*" in "restart nano-kernel") : >"$ASKED/restart" ;; *) exit 2 ;; esac',
    "journalctl": 'cat "$ROOT/kernel.log"',
}
QUICKSTART = """\
for argument; do
  case $argument in --*) grep -q -e "$argument" "$ASKED/usage" || exit 2 ;; esac
done
echo "$*" >"$ASKED/quickstart"
"""


class Zone:
    """One core that is a cell too, and a second node once a page lets one join."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.work = folder / "work"
        self._secret = "TOKEN"
        self._asked, self._site, self._programs = (folder / name for name in ("asked", "site", "programs"))
        for path in (self._asked, self._site, self._programs):
            path.mkdir(parents=True)
        usage = subprocess.run(["bash", str(ROOT / "quickstart"), "--help"], capture_output=True, text=True, check=True)
        (self._asked / "usage").write_text(usage.stdout)
        for name, script in PROGRAMS.items():
            self._program(self._programs / name, script)
        self.core = KernelProcess(self.root)
        self.cell: KernelProcess | None = None

    @staticmethod
    def _program(path: Path, script: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def start(self) -> None:
        """Start the core and give it what ``./quickstart`` gives it."""
        self._start_core()
        image = self.folder / "demo.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "64M"], check=True)
        self.core.client.upload_disk_image(image, "demo")

    def _start_core(self) -> None:
        self.core.start(environment={"PYTHONPATH": str(self._site)})
        self.core.wait_ready()

    def stop(self) -> None:
        """End every node."""
        for node in (self.cell, self.core):
            if node is not None:
                node.stop()

    # -- pages

    def begin(self) -> None:
        """Give the next page an empty folder that looks like a checkout, a home of its own, and the instance."""
        client = self.core.client
        if not list(client.items("/instances", name="hello")):
            image = next(client.items("/disk-images", name="demo"))
            body = {"name": "hello", "image_id": image["id"], "memory_bytes": 256 * 1024**2}
            client.wait(client.request("POST", "/instances", json=body))
        for path in (self.work, self.folder / "home"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        shutil.copytree(ROOT / "examples", self.work / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        self._program(self.work / "quickstart", QUICKSTART)
        self._program(self.work / ".venv/bin/activate", "")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(self.work / "debian.qcow2"), "32M"], check=True)

    def tidy(self) -> None:
        """Take back what a page left, so that the next begins where this one began."""
        client = self.core.client
        for path, kept in (("/instances", "hello"), ("/disk-images", "demo"), ("/compute-pools", "default")):
            for item in client.items(path):
                if item["name"] != kept:
                    answer = client.request("DELETE", f"{path}/{item['id']}")
                    if isinstance(answer, dict) and "progress" in answer:
                        client.wait(answer)
        for volume in client.items("/volumes"):
            if volume["instance_id"] is None:  # kept when its instance went
                client.wait(client.request("DELETE", f"/volumes/{volume['id']}"))
        if self.cell is not None:
            self.cell.stop()
            self.cell = None
        added = [*(self.root / "etc/nano").glob("*.d/*.toml")]
        for file in added:
            file.unlink()
        if added:
            self.core.stop()
            shutil.rmtree(self._site)
            self._site.mkdir()
            self._start_core()
            wait_until(self._has_cell, what="the cell's report")

    def run(self, block: Block) -> None:
        """Do what a reader does with ``block``; raise ``AssertionError`` naming it."""
        text = self.as_here(block.text)
        if block.file is not None:
            self._write_file(block.file, text)
        elif block.language == "sh":
            printed = self._run(block, ["bash", "-euo", "pipefail", "-c", text])
            if block.expected is not None:
                wanted = self.as_here(block.expected)
                assert is_as_expected(wanted, printed), f"{block.place}: printed\n{printed}\ninstead of\n{wanted}"
        elif block.language == "python":
            self._run(block, [sys.executable, "-W", "error", "-c", text])
        self._do_what_was_asked()

    def as_here(self, text: str) -> str:
        """Return ``text`` with this zone's folders, address and last secret."""
        port = (self.root / "run/nano/restapi/address").read_text().strip()
        text = PATHS.sub(lambda found: f"{self.root}{found[0]}", text).replace(ADDRESS, f"127.0.0.1:{port}")
        return re.sub(r"\bTOKEN\b", self._secret, text)

    def _write_file(self, name: str, text: str) -> None:
        path = self.work / self.as_here(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _run(self, block: Block, command: list[str]) -> str:
        environment = {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "LANG": "C.UTF-8",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(self._site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NANO_ROOT": str(self.root),
            "ROOT": str(self.root),
            "SITE": str(self._site),
            "ASKED": str(self._asked),
        }
        done = subprocess.run(
            command,
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        said = f"{block.text}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{block.place}: exit code {done.returncode}\n{said}"
        secrets = SECRET.findall(done.stdout)
        if secrets:
            self._secret = secrets[-1]
        return done.stdout

    def _do_what_was_asked(self) -> None:
        restart, quickstart = self._asked / "restart", self._asked / "quickstart"
        if restart.exists():
            restart.unlink()
            self.core.stop()
            self._start_core()
            wait_until(self._has_cell, what="the cell's report")
        if quickstart.exists():
            words = quickstart.read_text().split()
            quickstart.unlink()
            if "--join" in words:
                self._join(words[words.index("--join") + 1])

    def _has_cell(self) -> bool:
        try:
            known = [item["state"]["observed"] != "unknown" for item in self.core.client.items("/instances")]
            return all(known) and any(item["usage"]["cores"] for item in self.core.client.items("/nodes"))
        except NanoError:
            return False

    def _join(self, token: str) -> None:
        self.cell = KernelProcess(self.folder / "second", SIM_CONFIG, name="cell-2")
        self.cell.start(arguments=("--join", token))
        wait_until(self._has_second_cell, what="the second node")

    def _has_second_cell(self) -> bool:
        assert self.cell is not None
        self.cell.check_alive()
        found = [item for item in self.core.client.items("/nodes") if item["name"] == "cell-2"]
        return bool(found) and found[0]["state"] == "online" and bool(found[0]["usage"]["cores"])
