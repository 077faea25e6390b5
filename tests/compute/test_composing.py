"""What a request says, what a template says, and what is kept of first-boot settings."""

from __future__ import annotations

import pytest

from nanocore.capabilities.compute import InstanceValues, NewCloudInit, NewNic
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NetworkId
from nanoplugins.compute.composing import compose_cloud_init, merge_values, whole_sectors
from nanoplugins.compute.field_errors import FieldErrors

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyoSs4WhTlE8Vv4yyAK7mZJzVYdPYcKqYPp0LSLvkhp you@home"


def test_what_a_request_does_not_say_is_the_templates() -> None:
    template = InstanceValues(image_id=ImageId("i"), vcpus=4, tags=["blue"], autostart=True)
    merged = merge_values(InstanceValues(vcpus=2, autostart=False), template)
    assert (merged.image_id, merged.vcpus, merged.tags, merged.autostart) == ("i", 2, ["blue"], False)


def test_network_cards_and_a_network_replace_each_other() -> None:
    template = InstanceValues(nics=[NewNic(network_id=NetworkId("a")), NewNic(network_id=NetworkId("b"))])
    merged = merge_values(InstanceValues(network_id=NetworkId("c")), template)
    assert (merged.network_id, merged.nics) == ("c", None)


@pytest.mark.parametrize(("size", "whole"), [(512, 512), (513, 1024), (1024**3, 1024**3)])
def test_sizes_are_whole_sectors(size: int, whole: int) -> None:
    assert whole_sectors(size) == whole


def test_a_password_is_kept_as_its_hash_only() -> None:
    kept = compose_cloud_init(NewCloudInit(password="open sesame", ssh_keys=[f" {KEY}\n"]), FieldErrors())
    assert kept is not None
    assert kept.password_hash is not None
    assert kept.password_hash.startswith("$6$")
    assert "sesame" not in str(kept)
    assert kept.ssh_keys == [KEY]


@pytest.mark.parametrize("key", ["", "nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----", f"{KEY}\n{KEY}"])
def test_what_is_no_public_key_is_refused_with_its_place(key: str) -> None:
    errors = FieldErrors()
    compose_cloud_init(NewCloudInit(ssh_keys=[KEY, key]), errors)
    with pytest.raises(NanoError, match="public key") as caught:
        errors.check()
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.details["field"] == "cloud_init.ssh_keys[1]"
