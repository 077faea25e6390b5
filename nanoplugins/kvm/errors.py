"""libvirt's error numbers in Nano's codes: the only place that compares them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from nanocore.errors import ErrorCode, NanoError

CODES: dict[ErrorCode, str] = {
    ErrorCode.NOT_FOUND: """
        NO_DOMAIN NO_NETWORK NO_STORAGE_POOL NO_STORAGE_VOL NO_NODE_DEVICE NO_INTERFACE NO_NWFILTER NO_SECRET
        NO_DOMAIN_SNAPSHOT NO_DOMAIN_METADATA NO_DOMAIN_CHECKPOINT NO_DOMAIN_BACKUP NO_NETWORK_PORT NO_NETWORK_METADATA
        NO_NWFILTER_BINDING NO_SERVER NO_CLIENT DEVICE_MISSING
    """,
    ErrorCode.ALREADY_EXISTS: "DOM_EXIST NETWORK_EXIST NETWORK_PORT_EXIST STORAGE_VOL_EXIST",
    ErrorCode.WRONG_STATE: """
        OPERATION_INVALID OPERATION_DENIED SNAPSHOT_REVERT_RISKY MIGRATE_UNSAFE CHECKPOINT_INCONSISTENT
        BLOCK_COPY_ACTIVE STORAGE_POOL_BUILT AGENT_UNRESPONSIVE AGENT_UNSYNCED AGENT_COMMAND_TIMEOUT
        AGENT_COMMAND_FAILED
    """,
    ErrorCode.INVALID_ARGUMENT: """
        INVALID_ARG XML_ERROR XML_DETAIL XML_INVALID_SCHEMA INVALID_MAC SEXPR_SERIAL CPU_INCOMPATIBLE OVERFLOW
        CONF_SYNTAX PARSE_FAILED INVALID_DOMAIN INVALID_NETWORK INVALID_STORAGE_POOL INVALID_STORAGE_VOL
        INVALID_NODE_DEVICE INVALID_INTERFACE INVALID_NWFILTER INVALID_NWFILTER_BINDING INVALID_SECRET INVALID_STREAM
        INVALID_DOMAIN_SNAPSHOT INVALID_DOMAIN_CHECKPOINT INVALID_NETWORK_PORT MULTIPLE_DOMAINS MULTIPLE_INTERFACES
        NO_NAME NO_OS NO_ROOT NO_KERNEL NO_SOURCE NO_TARGET NO_DEVICE DRIVER_FULL
    """,
    ErrorCode.UNSUPPORTED: """
        NO_SUPPORT CONFIG_UNSUPPORTED OPERATION_UNSUPPORTED ARGUMENT_UNSUPPORTED OS_TYPE NO_SECURITY_MODEL NO_XEN
        NO_XENSTORE XEN_CALL
    """,
    ErrorCode.PERMISSION_DENIED: "ACCESS_DENIED AUTH_FAILED AUTH_CANCELLED AUTH_UNAVAILABLE",
    ErrorCode.NO_CAPACITY: "NO_MEMORY",
    ErrorCode.BUSY: "OPERATION_TIMEOUT RESOURCE_BUSY",
    ErrorCode.CANCELLED: "OPERATION_ABORTED",
    ErrorCode.UNAVAILABLE: """
        RPC NO_CONNECT INVALID_CONN UNKNOWN_HOST NO_HOSTNAME GNUTLS_ERROR SSH LIBSSH DBUS_SERVICE HTTP_ERROR
        GET_FAILED POST_FAILED
    """,
    ErrorCode.INTERNAL: """
        OK INTERNAL_ERROR OPERATION_FAILED SYSTEM_ERROR CALL_FAILED OPEN_FAILED READ_FAILED WRITE_FAILED
        STORAGE_PROBE_FAILED BUILD_FIREWALL HOOK_SCRIPT_FAILED MIGRATE_PERSIST_FAILED MIGRATE_FINISH_OK
    """,
}
"""Names without ``VIR_ERR_``; a test compares them with the installed library. Some are of later releases."""

_LEVELS = frozenset({"NONE", "WARNING", "ERROR"})
_PREFIX = "VIR_ERR_"
# The connection broke while it was in use; libvirt reports that as internal errors of these parts of itself.
_CONNECTION_DOMAINS = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})


def number_names() -> dict[int, str]:
    """Return the installed library's error numbers with their short names."""
    names = {name.removeprefix(_PREFIX) for name in dir(libvirt) if name.startswith(_PREFIX)} - _LEVELS
    return {getattr(libvirt, _PREFIX + name): name for name in names}


_NAMES = number_names()
_CODE_OF = {name: code for code, names in CODES.items() for name in names.split()}


def translate(error: libvirt.libvirtError, what: str) -> NanoError:
    """Return ``error`` as ours; ``what`` is the attempt that failed: "guest web-1 can't be started"."""
    number, domain = error.get_error_code(), error.get_error_domain()
    name = _NAMES.get(number, "UNKNOWN")
    code = _CODE_OF.get(name, ErrorCode.INTERNAL)
    if code is ErrorCode.INTERNAL and domain in _CONNECTION_DOMAINS:
        code = ErrorCode.UNAVAILABLE
    return NanoError(code, f"{what}: {error.get_error_message() or error}", reason=f"kvm.{name.lower()}")


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn libvirt's errors inside the block into ours."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error, what) from error
