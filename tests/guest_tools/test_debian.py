"""A real Debian tells how its first boot went; broken user-data is named by the stage that fails on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanocore.errors import NanoError
from nanocore.testing.kernel_process import KernelProcess, wait_until
from nanocore.testing.libvirtd import PrivateLibvirtd
from tests.system import real
from tests.system.acts import remove_instances
from tests.system.debian_guest import DebianGuest, create_debian

pytestmark = [
    pytest.mark.system,
    pytest.mark.needs("libvirt", "qemu", "namespaces"),
    pytest.mark.timeout(1800),
]
SETTINGS = """
[guest_tools]
booting_poll_seconds = 1.0
poll_seconds = 2.0
answer_seconds = 60.0
patience_seconds = 20.0
"""
SECRET = "correct horse battery staple"


@pytest.fixture(scope="module")
def debian(
    tmp_path_factory: pytest.TempPathFactory, libvirtd: PrivateLibvirtd, debian_image: Path
) -> Iterator[DebianGuest]:
    """One guest for all tests here: ready after its first boot."""
    root = tmp_path_factory.mktemp("dg")
    kernel = KernelProcess(root, real.configuration(libvirtd.uri) + SETTINGS, name="real-1")
    kernel.start()
    try:
        kernel.wait_ready()
        wait_until(lambda: kernel.client.get("/nodes")["items"][0]["usage"]["cores"], seconds=60, what="a report")
        script = "#!/bin/sh\necho made-by-user-data >/root/made\n"
        guest = create_debian(kernel, debian_image, root, cloud_init={"password": SECRET, "user_data": script})
        first = guest.guest()
        assert not first["ready"]["is_ready"], "a guest that has hardly begun to boot is not ready"
        guest.first = guest.wait_ready()
        yield guest
        remove_instances(kernel)
        assert not list((root / "var/lib/nano/guest_tools/seeds").glob("*"))
    finally:
        kernel.stop()


def test_first_boot_is_told_and_the_agent_is_asked(debian: DebianGuest) -> None:
    found = debian.first
    assert found["source"] in ("agent", "seed"), "whichever spoke first"
    assert [stage["state"] for stage in found["stages"]] == ["done"] * 6, found
    facts = debian.wait(lambda guest: guest["facts"]["has_agent"], "the agent's word")["facts"]
    assert facts["hostname"]
    assert facts["system"].startswith("Debian GNU/Linux 12")
    assert debian.address in facts["addresses"]
    assert 300 * 1024**2 < facts["memory_bytes"] <= 512 * 1024**2
    assert debian.instance()["ready"]["is_ready"]
    told = debian.run("cat /root/made; id -un; df -BM --output=size / | tail -1; getent shadow ada")
    assert "made-by-user-data" in told
    assert "root" in told
    assert int(told.split("M")[0].split()[-1]) > 1500, "the system did not grow to its disk"
    hashed = told.rpartition("ada:")[2].split(":")[0]
    checked = debian.run(f"perl -e 'print crypt(q({SECRET}), q({hashed})) eq q({hashed}) ? q(same) : q(other)'")
    assert checked == "same"


def test_password_hostname_and_file_systems_are_changed_by_the_agent(debian: DebianGuest) -> None:
    client = debian.kernel.client
    actions = f"/instances/{debian.id}/guest/actions"

    def act(name: str, **body: object) -> None:
        ended = client.wait(client.request("POST", f"{actions}/{name}", json=body), timeout_seconds=180)
        assert ended["state"] == "succeeded", ended

    before = debian.run("getent shadow root")
    act("set_password", username="root", password="another one")
    assert debian.run("getent shadow root").startswith("root:$6$")
    assert debian.run("getent shadow root") != before
    act("set_hostname", hostname="renamed")
    assert debian.run("hostname").strip() == "renamed"
    debian.wait(lambda guest: guest["facts"]["hostname"] == "renamed", "the new host name")
    act("freeze", seconds=600)
    debian.wait(lambda guest: guest["facts"]["is_frozen"], "the frozen file systems")
    act("thaw")
    found = debian.wait(lambda guest: not guest["facts"]["is_frozen"], "the thawed file systems")
    assert found["ready"]["is_ready"]
    with pytest.raises(NanoError, match="user nobody-here"):
        act("set_password", username="nobody-here", password="x")


def test_without_an_agent_the_seed_makes_the_guest_speak(debian: DebianGuest) -> None:
    debian.run("systemctl stop qemu-guest-agent")
    try:
        found = debian.wait(lambda guest: guest["source"] == "seed", "the word by the port")
        assert found["ready"]["is_ready"]
        assert not found["facts"]["has_agent"]
        assert "no agent" in found["facts"]["agent_reason"]
    finally:
        debian.run("systemctl start qemu-guest-agent")
    debian.wait(lambda guest: guest["source"] == "agent", "the agent to be back")


@dataclass(frozen=True)
class Case:
    """User-data that goes wrong, the stage that it goes wrong in, and a word that tells what."""

    name: str
    stage: str
    word: str
    user_data: str
    is_endless: bool = False


CASES = [
    Case("bad-yaml", "user-data", "yaml", "#cloud-config\nusers: [ada\nruncmd: - x\n"),
    Case("no-kind", "user-data", "Unhandled non-multipart", "echo a script without its first line\n"),
    Case(
        "unknown-part",
        "user-data",
        "x-nonesuch",
        'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n'
        "--b\nContent-Type: application/x-nonesuch\n\nruncmd: [true]\n--b--\n",
    ),
    Case("unknown-module", "config", "nonesuch", "#cloud-config\ncloud_config_modules: [nonesuch]\n"),
    Case("failing-command", "user-script", "runcmd", "#cloud-config\nruncmd:\n - [sh, -c, 'exit 3']\n"),
    Case("failing-script", "user-script", "1 failures", "#!/bin/sh\necho out of luck >&2\nexit 7\n"),
    Case("bad-package", "modules-final", "nonesuch-package", "#cloud-config\npackages: [nonesuch-package]\n"),
    Case("wrong-shell", "network", "/bin/nonesuch", "#cloud-config\nusers:\n - {name: bob, shell: /bin/nonesuch}\n"),
    Case(
        "unwritable-file", "network", "write", "#cloud-config\nwrite_files:\n - {path: /proc/nonesuch/a, content: b}\n"
    ),
    Case("failing-bootcmd", "network", "bootcmd", "#cloud-config\nbootcmd:\n - [sh, -c, 'exit 4']\n"),
    Case("bad-time-zone", "config", "timezone", "#cloud-config\ntimezone: Moon/Crater\n"),
    Case("endless-command", "modules-final", "has not ended", "#cloud-config\nruncmd: [sleep 600]\n", is_endless=True),
]
QUICK = {"bad-yaml", "failing-command"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[] if case.name in QUICK else [pytest.mark.full]) for case in CASES],
)
def test_broken_user_data_names_the_failing_stage(debian: DebianGuest, case: Case) -> None:
    debian.boot_again_with(case.user_data, is_waiting=not case.is_endless)
    try:
        found = debian.wait(
            lambda guest: guest["ready"]["is_ready"] is False and case.word in (guest["ready"]["reason"] or ""),
            f"the reason of {case.name}",
        )
        assert found["ready"]["stage"] == case.stage, found
        stages = {stage["name"]: stage["state"] for stage in found["stages"]}
        assert stages[case.stage] == ("running" if case.is_endless else "failed")
        shown = debian.instance()["ready"]
        assert shown["stage"] == case.stage
    finally:
        debian.run("pkill -x sleep; userdel bob 2>/dev/null; true")
        debian.boot_again_with("#cloud-config\n{}\n")
        debian.wait_ready()
