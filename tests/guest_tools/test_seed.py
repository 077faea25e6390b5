"""What a first boot is told, and what is refused before it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email import message_from_string
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pycdlib
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nanocore.capabilities.guest import (
    MAX_USER_DATA_BYTES,
    DeleteSeed,
    EnsureSeed,
    ListSeeds,
    SeedNic,
    UserDataKind,
)
from nanocore.contracts.handler import Call
from nanocore.contracts.plugin import PluginContext, PluginPaths
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, StepKey, new_id
from nanocore.model.instance import CloudInit
from nanoplugins.guest_tools import iso
from nanoplugins.guest_tools.seed import MERGE, cloud_config, network_config, seed_files, user_data
from nanoplugins.guest_tools.seeds import Seeds
from nanoplugins.guest_tools.user_data import check

ID = InstanceId("2c4f9a31-6f0e-4a55-9b0e-0f6f5a2f7a10")
CONFIG = "#cloud-config\npackages: [nginx]\n"
MULTIPART = (
    'Content-Type: multipart/mixed; boundary="b"\nMIME-Version: 1.0\n\n'
    "--b\nContent-Type: text/cloud-config\n\nruncmd: [x]\n--b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n--b--\n"
)
MERGED = "m0: &m0 {x: 1}\n" + "".join(
    f"m{level}: &m{level}\n  <<: [{', '.join([f'*m{level - 1}'] * 10)}]\n" for level in range(1, 7)
)
"""500 bytes that would merge a million keys."""
NESTED_PARTS = "MIME-Version: 1.0\n" + "".join(
    f'Content-Type: multipart/mixed; boundary="{level}"\n\n--{level}\n' for level in range(1000)
)


def message(**cloud_init: object) -> EnsureSeed:
    nics = [
        SeedNic(mac="52:54:00:00:00:01"),
        SeedNic(mac="52:54:00:00:00:02", addresses=["fd00::5/64"], gateway="fd00::1"),
    ]
    return EnsureSeed(
        step_key=StepKey("k"),
        id=ID,
        name="web-1",
        cloud_init=CloudInit(**cloud_init),
        nics=nics,  # type: ignore[arg-type]
    )


def test_a_half_written_seed_is_listed_until_it_is_deleted(tmp_path: Path) -> None:
    context = SimpleNamespace(paths=PluginPaths(state=tmp_path, run=tmp_path))
    handlers = {handler.message: handler.call for handler in Seeds(cast("PluginContext", context)).handlers()}
    whole, half = InstanceId(new_id()), InstanceId(new_id())
    folder = tmp_path / "seeds"
    folder.mkdir()
    for name in (f"{whole}.iso", f"{whole}.partial", f"{half}.partial"):
        (folder / name).touch()

    async def main() -> None:
        call = cast("Call", None)
        assert (await handlers[ListSeeds](ListSeeds(), call)).ids == sorted([whole, half])
        for id in (whole, half):
            await handlers[DeleteSeed](DeleteSeed(step_key=StepKey("key"), id=id), call)
        assert (await handlers[ListSeeds](ListSeeds(), call)).ids == []
        assert list(folder.iterdir()) == []

    asyncio.run(main())


def test_a_user_of_ones_own_has_keys_hash_and_sudo() -> None:
    config = cloud_config(message(username="ada", ssh_keys=["ssh-ed25519 A"], password_hash="$6$s$h"))
    (user,) = config["users"]
    assert user["hashed_passwd"] == "$6$s$h"
    assert user["lock_passwd"] is False
    assert user["ssh_authorized_keys"] == ["ssh-ed25519 A"]
    assert config["hostname"] == "web-1"
    assert cloud_config(message(username="ada"))["users"][0]["lock_passwd"] is True


def test_without_a_user_the_images_own_gets_keys_and_password() -> None:
    config = cloud_config(message(ssh_keys=["ssh-ed25519 A"], password_hash="$6$s$h", hostname="db"))
    assert config == {
        "hostname": "db",
        "preserve_hostname": False,
        "password": "$6$s$h",
        "chpasswd": {"expire": False},
        "ssh_authorized_keys": ["ssh-ed25519 A"],
    }


def test_cards_are_found_by_mac() -> None:
    config = yaml.safe_load(network_config(message().nics))
    assert config["version"] == 2
    assert config["ethernets"]["nic0"] == {"match": {"macaddress": "52:54:00:00:00:01"}, "dhcp4": True}
    second = config["ethernets"]["nic1"]
    assert second["addresses"] == ["fd00::5/64"]
    assert second["routes"] == [{"to": "::/0", "via": "fd00::1"}]


def parts_of(text: str) -> list[tuple[str, str, str | None]]:
    found = []
    for part in message_from_string(text).walk():
        if not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            found.append((part.get_content_type(), payload.decode(), part["Merge-Type"]))
    return found


def test_user_data_is_a_part_of_its_own() -> None:
    assert len(parts_of(user_data(message()))) == 1
    assert parts_of(user_data(message(user_data=CONFIG)))[1] == ("text/cloud-config", CONFIG, MERGE)
    script = "#!/bin/sh\necho grüße\n"
    assert parts_of(user_data(message(user_data=script)))[1] == ("text/x-shellscript", script, None)
    kinds = [kind for kind, _, _ in parts_of(user_data(message(user_data=MULTIPART)))]
    assert kinds == ["text/cloud-config", "text/cloud-config", "text/x-shellscript"]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=500))
def test_whatever_is_said_comes_out_as_it_went_in(text: str) -> None:
    files = seed_files(message(hostname=text, user_data=f"#cloud-config\n# {text}"))
    assert yaml.safe_load(files["meta-data"])["local-hostname"] == text
    assert yaml.safe_load(parts_of(files["user-data"])[0][1])["hostname"] == text


def test_the_image_holds_the_files_under_cloud_inits_label() -> None:
    files = seed_files(message(user_data=CONFIG))
    image = pycdlib.PyCdlib()
    image.open_fp(BytesIO(iso.build(files)))
    assert image.pvd.volume_identifier.decode().strip() == "cidata"
    for name, text in files.items():
        for path in ({"rr_path": f"/{name}"}, {"joliet_path": f"/{name}"}):
            out = BytesIO()
            image.get_file_from_iso_fp(out, **path)
            assert out.getvalue().decode() == text
    image.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (CONFIG, UserDataKind.CLOUD_CONFIG),
        ("#!/bin/sh\nexit 3\n", UserDataKind.SCRIPT),
        ("#include\nhttps://example.org/x\n", UserDataKind.INCLUDE),
        ("## template: jinja\n#cloud-config\nhostname: {{ v1.name }}\n", UserDataKind.JINJA),
        ("#cloud-boothook\n#!/bin/sh\n", UserDataKind.BOOTHOOK),
        ("#cloud-config-archive\n- content: '#!/bin/sh'\n", UserDataKind.ARCHIVE),
        (MULTIPART, UserDataKind.MULTIPART),
    ],
)
def test_what_cloud_init_knows_is_taken(text: str, kind: UserDataKind) -> None:
    assert check(text) is kind


def test_mappings_may_be_merged_into_others() -> None:
    text = "#cloud-config\nd: &d\n  <<: *d\na: &a {x: 1, y: 2}\nb: &b\n  <<: *a\n  z: 3\nc:\n  <<: [*a, *b]\n"
    assert check(text) is UserDataKind.CLOUD_CONFIG


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("echo hello\n", "would ignore"),
        (" #cloud-config\nusers: []\n", "would ignore"),
        ("", "would ignore"),
        ("#cloud-config\nusers: [ada\n", "bad YAML at line"),
        ("#cloud-config\n- a\n- list\n", "mapping of keys"),
        ("#cloud-config\n", "mapping of keys"),
        ("#cloud-config-archive\na: b\n", "list"),
        ("#cloud-config\n" + "[" * 5000, "YAML"),
        ("#cloud-config\na: 2024-13-45\n", "value that can't be read: month must be"),
        ("#cloud-config\na: 0x_\n", "value that can't be read"),
        ("#cloud-config\na: !!bool maybe\n", "value that can't be read"),
        ("#cloud-config\na: !!timestamp soon\n", "value that can't be read"),
        ("#cloud-config\na: !!int ''\n", "value that can't be read"),
        ("#cloud-config\na: " + "9" * 5000, "value that can't be read"),
        ("#cloud-config\n" + MERGED + "a: &a\n  <<: *a\n", "merges"),
        (NESTED_PARTS, "nested deeper"),
        (NESTED_PARTS[:3000], "nested deeper"),
        ("#!/bin/sh\r\necho\r\n", "Windows line ends"),
        ("Content-Type: multipart/mixed\nMIME-Version: 1.0\n\n--b\n\nx\n", "boundary"),
        (MULTIPART.replace("text/x-shellscript", "application/x-nonesuch"), "part 2: cloud-init does not know"),
        (
            MULTIPART.replace("text/x-shellscript", "text/plain").replace("#!/bin/sh", "echo"),
            "part 2: cloud-init would",
        ),
        (MULTIPART.replace("runcmd: [x]", "runcmd: [x"), "part 1: bad YAML"),
        ("#cloud-config\na: \0\n", "zero byte"),
        ("#!/bin/sh\n" + "x" * MAX_USER_DATA_BYTES, "more than"),
    ],
)
def test_what_cloud_init_would_ignore_is_refused(text: str, word: str) -> None:
    with pytest.raises(NanoError) as caught:
        check(text)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert word in caught.value.message


@given(
    st.text()
    | st.text().map(lambda text: f"#cloud-config\n{text}")
    | st.text().map(lambda text: f"MIME-Version:{text}")
)
def test_no_text_breaks_the_check(text: str) -> None:
    with suppress(NanoError):
        assert check(text) in UserDataKind
