"""Raw Ethernet frames: built here, sent and caught by sockets in a guest's or the machine's namespace."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable

ALL = 0x0003
BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP, IPV4, IPV6, VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
UDP, ICMPV6 = 17, 58


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ether(source: str, kind: int, payload: bytes, target: str = BROADCAST) -> bytes:
    return mac(target) + mac(source) + struct.pack("!H", kind) + payload


def arp(source: str, claimed_mac: str, claimed: str, wanted: str, *, operation: int = 1) -> bytes:
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + mac(claimed_mac) + socket.inet_aton(claimed)
    return ether(source, ARP, body + bytes(6) + socket.inet_aton(wanted))


def udp(source_port: int, target_port: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def ipv4(source: str, address: str, target: str, payload: bytes, *, to: str = BROADCAST) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, UDP, 0)
    head += socket.inet_aton(address) + socket.inet_aton(target)
    words = struct.unpack("!10H", head)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return ether(source, IPV4, head[:10] + struct.pack("!H", checksum) + head[12:] + payload, to)


def ipv6(source: str, address: str, target: str, payload: bytes, *, kind: int = ICMPV6) -> bytes:
    head = struct.pack("!IHBB", 0x60000000, len(payload), kind, 255)
    packed = ipaddress.IPv6Address(address).packed + ipaddress.IPv6Address(target).packed
    return ether(source, IPV6, head + packed + payload, "33:33:00:00:00:01")


def icmpv6(kind: int, body: bytes = bytes(20)) -> bytes:
    return struct.pack("!BBH", kind, 0, 0) + body


def open_raw(device: str) -> Callable[[], socket.socket]:
    """Return what opens a socket for every frame of ``device``, wherever it is called."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
        made.bind((device, 0))
        made.settimeout(20)
        return made

    return make


def catch(listener: socket.socket, sentinel: bytes) -> list[bytes]:
    """Return the frames that came before the one with ``sentinel`` in it."""
    caught = []
    while sentinel not in (frame := listener.recv(4096)):
        caught.append(frame)
    return caught
