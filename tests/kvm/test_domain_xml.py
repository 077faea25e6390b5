"""Domain XML is a tree built from the specification, nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.capabilities.hypervisor import DiskSpec, GuestSpec, NicSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, StepKey, VolumeId
from nanocore.model.instance import MIB
from nanocore.wire import structs
from nanoplugins.kvm import devices, domain_xml
from nanoplugins.kvm.domain_xml import Platform

ID = InstanceId("1f0f5df5-4f64-4a3f-9f9e-0c1d2e3f4a5b")
DATA = DiskSpec(volume_id=VolumeId("aa"), path="/pool/data.raw", format="raw")
BOOT = DiskSpec(volume_id=VolumeId("bb"), path="/pool/boot.qcow2", format="qcow2", is_boot=True)
NIC = NicSpec(id="nic-1", mac="52:54:00:12:34:56", bridge="nano0")
SPEC = GuestSpec(
    id=ID,
    name="web-1",
    vcpus=2,
    memory_bytes=256 * MIB,
    disks=[DATA, BOOT],
    nics=[NIC],
    step_key=StepKey("op/define"),
)


def build(spec: GuestSpec = SPEC, domain_type: str = "qemu", name: str | None = None) -> ET.Element:
    before = ET.fromstring(f"<domain><name>{name}</name></domain>") if name else None
    return ET.fromstring(domain_xml.build(spec, Platform(domain_type), zone="north", before=before))


def attribute(root: ET.Element, path: str, name: str) -> str | None:
    element = root.find(path)
    assert element is not None, path
    return element.get(name)


def test_identity_and_size() -> None:
    root = build()
    assert root.findtext("uuid") == ID
    assert root.findtext("name") == "web-1-1f0f5df5"
    assert root.findtext("title") == "web-1"
    assert (root.findtext("memory"), attribute(root, "memory", "unit")) == (str(256 * MIB), "b")


def test_a_domain_that_exists_keeps_its_name() -> None:
    assert build(name="old-name").findtext("name") == "old-name"


def test_our_mark_is_read_back_and_others_have_none() -> None:
    mark = domain_xml.read_mark(build())
    assert mark == domain_xml.Mark(id=ID, name="web-1", zone="north", step_key="op/define")
    assert domain_xml.read_mark(ET.fromstring("<domain><metadata><other xmlns='urn:x'/></metadata></domain>")) is None


@pytest.mark.parametrize("vcpus", [1, 2, 3, 64])
def test_the_topology_follows_the_number_of_processors(vcpus: int) -> None:
    root = build(structs.replace(SPEC, vcpus=vcpus))
    product = 1
    for part in ("sockets", "dies", "cores", "threads"):
        product *= int(attribute(root, "cpu/topology", part) or 0)
    assert product == int(root.findtext("vcpu") or 0) >= vcpus
    assert attribute(root, "vcpu", "current") == str(vcpus)


@pytest.mark.parametrize(("domain_type", "mode"), [("kvm", "host-passthrough"), ("qemu", "maximum")])
def test_the_processor_fits_the_acceleration(domain_type: str, mode: str) -> None:
    root = build(domain_type=domain_type)
    assert root.get("type") == domain_type
    assert attribute(root, "cpu", "mode") == mode
    assert attribute(root, "os/type", "machine") == "q35"


def test_disks_have_explicit_formats_and_the_boot_disk_comes_first() -> None:
    disks = build().findall("devices/disk")
    assert [attribute(disk, "source", "file") for disk in disks] == [BOOT.path, DATA.path]
    assert [attribute(disk, "driver", "type") for disk in disks] == ["qcow2", "raw"]
    assert [attribute(disk, "target", "dev") for disk in disks] == ["vda", "vdb"]
    assert [disk.find("boot") is not None for disk in disks] == [True, False]


@pytest.mark.parametrize(("index", "name"), [(0, "vda"), (25, "vdz"), (26, "vdaa"), (701, "vdzz"), (702, "vdaaa")])
def test_disk_names_count_on(index: int, name: str) -> None:
    assert devices.disk_name(index) == name


def test_network_cards_are_given_a_bridge() -> None:
    nic = build().find("devices/interface")
    assert nic is not None
    assert nic.get("type") == "bridge"
    assert attribute(nic, "source", "bridge") == "nano0"
    assert attribute(nic, "mac", "address") == NIC.mac
    assert attribute(nic, "model", "type") == "virtio"


def test_consoles_listen_nowhere() -> None:
    root = build()
    assert [listen.get("type") for listen in root.iter("listen")] == ["none"]
    assert [serial.get("type") for serial in root.iter("serial") if serial.get("type")] == ["pty"]


def test_a_guest_may_have_no_disk_and_no_card() -> None:
    root = build(structs.replace(SPEC, disks=[], nics=[]))
    assert root.find("devices/disk") is None
    assert root.find("devices/interface") is None


def test_libvirts_test_driver_gets_no_devices_of_qemu() -> None:
    root = build(domain_type="test")
    assert root.find("devices/graphics") is None
    assert root.find("cpu") is None


@pytest.mark.parametrize("path", ["", "relative.qcow2", "../x", "sim:///volumes/1"])
def test_paths_that_are_not_absolute_are_refused(path: str) -> None:
    disk = structs.replace(BOOT, path=path)
    with pytest.raises(NanoError) as caught:
        build(structs.replace(SPEC, disks=[disk]))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_no_name_becomes_markup(name: str) -> None:
    xml = domain_xml.build(structs.replace(SPEC, name=name), Platform("qemu"), zone=name)
    mark = domain_xml.read_mark(ET.fromstring(xml))
    assert mark is not None
    assert (mark.name, mark.zone) == (name, name)
    root = ET.fromstring(xml)
    assert [child.tag for child in root] == [child.tag for child in build()]
