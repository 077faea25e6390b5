"""Domain XML is a tree built from the specification, nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanocore.capabilities.hypervisor import DiskSpec, GuestSpec, MediaSpec, NicSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, StepKey, VolumeId
from nanocore.model.instance import MIB, Firmware, Qos
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


def test_an_installed_disk_boots_before_media_and_an_empty_one_lets_them() -> None:
    media = [MediaSpec(slot=1), MediaSpec(slot=0, path="/iso/system.iso")]
    root = build(structs.replace(SPEC, media=media, seed_path="/seeds/web-1.iso"))
    orders = {
        attribute(disk, "target", "dev"): (order.get("order") if (order := disk.find("boot")) is not None else None)
        for disk in root.findall("devices/disk")
    }
    assert orders == {"vda": "1", "vdb": None, "sda": "2", "sdb": "3", "vdc": None}
    without_boot_disk = build(structs.replace(SPEC, disks=[DATA], media=media))
    first = without_boot_disk.find("devices/disk[@device='cdrom']/boot")
    assert first is not None
    assert first.get("order") == "1"


def test_the_seed_is_a_read_only_disk() -> None:
    seed = build(structs.replace(SPEC, seed_path="/seeds/web-1.iso")).findall("devices/disk")[-1]
    assert attribute(seed, "source", "file") == "/seeds/web-1.iso"
    assert attribute(seed, "target", "bus") == "virtio"
    assert seed.find("readonly") is not None


def test_a_guest_with_a_seed_may_tell_by_a_port_of_its_own() -> None:
    assert build().find("devices/channel/source") is None
    root = build(structs.replace(SPEC, seed_path="/seeds/web-1.iso", signal_path="/run/nano/guest_tools/2c4f"))
    channel = next(each for each in root.findall("devices/channel") if each.find("source") is not None)
    assert attribute(channel, "source", "path") == "/run/nano/guest_tools/2c4f"
    assert attribute(channel, "target", "name") == "org.nano.ready.0"


def test_a_port_may_be_named_and_isolated() -> None:
    nic = structs.replace(NIC, device="nano12345", is_isolated=True)
    element = build(structs.replace(SPEC, nics=[nic])).find("devices/interface")
    assert element is not None
    assert attribute(element, "target", "dev") == "nano12345"
    assert attribute(element, "port", "isolated") == "yes"


def test_uefi_takes_no_vendors_keys() -> None:
    root = build(structs.replace(SPEC, firmware=Firmware.UEFI, has_tpm=True))
    assert attribute(root, "os", "firmware") == "efi"
    features = {feature.get("name"): feature.get("enabled") for feature in root.findall("os/firmware/feature")}
    assert features == {"enrolled-keys": "no", "secure-boot": "no"}
    assert attribute(root, "devices/tpm/backend", "version") == "2.0"
    assert build().find("devices/tpm") is None


def test_limits_are_written_and_those_that_are_impossible_are_named() -> None:
    qos = Qos(cpu_weight=200, disk_iops=10, disk_bytes_per_second=2048, network_bytes_per_second=4096)
    spec = structs.replace(SPEC, qos=qos)
    root = build(spec)
    assert root.findtext("cputune/shares") == "200"
    assert [disk.findtext("iotune/total_iops_sec") for disk in root.findall("devices/disk")] == ["10", "10"]
    assert attribute(root, "devices/interface/bandwidth/outbound", "average") == "4"
    platform = Platform("qemu", limits_unsupported={"network_bytes_per_second": "no qdisc"}, full_cpu_shares=1024)
    root = ET.fromstring(domain_xml.build(spec, platform, zone="north"))
    assert root.findtext("cputune/shares") == "2048"
    assert root.find("devices/interface/bandwidth") is None
    mark = domain_xml.read_mark(root)
    assert mark is not None
    assert (mark.qos, mark.limits_unsupported) == (qos, ("network_bytes_per_second",))
    assert mark.enforced == structs.replace(qos, network_bytes_per_second=None)


def test_devices_that_stay_keep_their_place() -> None:
    before = build()
    for element, bus in zip(before.findall("devices/disk"), ("0x07", "0x1f"), strict=True):
        ET.SubElement(element, "address", type="pci", domain="0x0000", bus=bus, slot="0x00", function="0x0")
    after = ET.fromstring(
        domain_xml.build(structs.replace(SPEC, disks=[DATA], nics=[]), Platform("qemu"), zone="north", before=before)
    )
    assert attribute(after, "devices/disk/address", "bus") == "0x1f"
    ports = after.findall("devices/controller[@model='pcie-root-port']")
    assert max(int(port.get("index") or 0) for port in ports) >= 0x1F


def test_there_is_room_for_devices_that_come_later() -> None:
    ports = build().findall("devices/controller[@model='pcie-root-port']")
    assert len(ports) >= domain_xml.FREE_PORTS + len(SPEC.disks) + len(SPEC.nics)
