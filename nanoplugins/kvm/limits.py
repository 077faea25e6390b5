"""Starting a guest with limits, and without those that this machine can't put in force."""

from __future__ import annotations

from collections.abc import Mapping

import libvirt
import structlog

from nanoplugins.kvm import changes, definition, domain_xml
from nanoplugins.kvm.domain_xml import Mark, Platform

OF_THE_MACHINE = ("cpu_weight", "network_bytes_per_second")
"""Limits that need the kernel's help: control groups, queueing disciplines. Those of disks are QEMU's own."""

_log = structlog.stdlib.get_logger("nano.kvm")


def start(domain: libvirt.virDomain, platform: Platform) -> Mapping[str, str]:
    """Start; when libvirt refuses, again without the limits that need the kernel, first each alone, then all.

    Returns those that are not in force, each with the reason.
    """
    try:
        domain.create()
    except libvirt.libvirtError as error:
        left_out = _start_without(domain, platform, error)
        if not left_out:
            raise
        return left_out
    return _ignored(domain, platform)


def _start_without(domain: libvirt.virDomain, platform: Platform, error: libvirt.libvirtError) -> Mapping[str, str]:
    mark = domain_xml.read_mark(definition.lasting(domain))
    tried = [name for name in OF_THE_MACHINE if mark and getattr(mark.enforced, name) is not None]
    if mark is None or not tried or domain.isActive():
        return {}
    for left_out in [[name] for name in tried] + [tried] * (len(tried) > 1):
        _write(domain, mark.lacking(left_out), platform)
        if _starts(domain):
            words = str(error.get_error_message() or error)
            _log.warning("kvm.limits_unsupported", guest=mark.id, limits=left_out, error=words)
            return dict.fromkeys(left_out, f"libvirt refuses it: {words}")
    _write(domain, mark, platform)  # they were not to blame
    return {}


def _ignored(domain: libvirt.virDomain, platform: Platform) -> Mapping[str, str]:
    """Return what libvirt took without a word and did not do: a weight where it has no control groups."""
    mark = domain_xml.read_mark(definition.lasting(domain))
    if mark is None or mark.enforced.cpu_weight is None:
        return {}
    try:
        domain.schedulerParametersFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if not domain.isActive():
            return {}
        missing = mark.lacking(["cpu_weight"])
        _write(domain, missing, platform)
        changes.write_live_mark(domain, missing)
        return {"cpu_weight": f"libvirt can't weigh processors here: {error.get_error_message() or error}"}
    return {}


def _starts(domain: libvirt.virDomain) -> bool:
    try:
        domain.create()
    except libvirt.libvirtError:
        return False
    return True


def _write(domain: libvirt.virDomain, mark: Mark, platform: Platform) -> None:
    changes.define_edited(domain, lambda root: definition.set_limits(root, mark, platform))
