"""Starting a guest with limits, and without those that this machine can't put in force."""

from __future__ import annotations

from dataclasses import replace

import libvirt
import structlog

from nanoplugins.kvm import changes, definition, domain_xml
from nanoplugins.kvm.domain_xml import Mark, Platform

OF_THE_MACHINE = ("cpu_weight", "network_bytes_per_second")
"""Limits that need the kernel's help: control groups, queueing disciplines. Those of disks are QEMU's own."""

_log = structlog.stdlib.get_logger("nano.kvm")


def start(domain: libvirt.virDomain, platform: Platform) -> None:
    """Start; when libvirt refuses, once more without the limits that need the kernel."""
    try:
        domain.create()
    except libvirt.libvirtError as error:
        mark = domain_xml.read_mark(definition.lasting(domain))
        tried = [name for name in OF_THE_MACHINE if mark and getattr(mark.enforced, name) is not None]
        if mark is None or not tried or domain.isActive():
            raise
        _write(domain, replace(mark, limits_unsupported=tuple(sorted({*mark.limits_unsupported, *tried}))), platform)
        try:
            domain.create()
        except libvirt.libvirtError:
            _write(domain, mark, platform)  # they were not to blame
            raise error from None
        _log.warning("kvm.limits_unsupported", guest=mark.id, limits=tried, error=str(error))


def _write(domain: libvirt.virDomain, mark: Mark, platform: Platform) -> None:
    changes.define_edited(domain, lambda root: definition.set_limits(root, mark, platform))
