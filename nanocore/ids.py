"""Names for the kinds of identifier, and strict parsers for those that come from outside.

Ids are random UUIDs in canonical lower-case text. They carry no meaning.
"""

from __future__ import annotations

import re
import uuid
from typing import NewType

from nanocore.errors import ErrorCode, NanoError

NodeId = NewType("NodeId", str)
InstanceId = NewType("InstanceId", str)
VolumeId = NewType("VolumeId", str)
ImageId = NewType("ImageId", str)
ComputePoolId = NewType("ComputePoolId", str)
StoragePoolId = NewType("StoragePoolId", str)
NetworkId = NewType("NetworkId", str)
AddressPoolId = NewType("AddressPoolId", str)
SecurityPolicyId = NewType("SecurityPolicyId", str)
SnapshotId = NewType("SnapshotId", str)
TemplateId = NewType("TemplateId", str)
OperationId = NewType("OperationId", str)
RequestId = NewType("RequestId", str)
StepKey = NewType("StepKey", str)
"""``<operation id>/<step name>``: the idempotency key of one step of one operation."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""A host name label (RFC 1123): node and instance names end up as host names and in DNS."""

LABEL_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]*$"
"""A name in any language: no control characters, line ends or marks that turn the direction of text round, which
would let a name forge the line in which it is shown."""


def new_id() -> str:
    """Return a new random id."""
    return str(uuid.uuid4())


def parse_id(text: str, *, field: str = "id") -> str:
    """Return ``text`` if it is a canonical UUID, else raise ``invalid_argument`` naming ``field``."""
    if not _UUID.fullmatch(text):
        message = f"{field} must be a UUID such as {uuid.UUID(int=0)}, got {text[:80]!r}"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field=field)
    return text


def parse_name(text: str, *, field: str = "name") -> str:
    """Return ``text`` if it is a host name label, else raise ``invalid_argument`` naming ``field``."""
    if not _NAME.fullmatch(text):
        message = (
            f"{field} must be 1 to 63 lower-case letters, digits and inner hyphens "
            f"(it becomes the guest's host name), got {text[:80]!r}"
        )
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field=field)
    return text
