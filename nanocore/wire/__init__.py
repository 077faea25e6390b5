"""What travels between nodes: frames, headers, typed messages. The home of msgspec.

Plugins import ``Struct``, ``Meta`` and ``field`` from here to declare their own messages.
"""

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field, structs
from msgspec.json import schema_components

from nanocore.wire.codec import decode, decode_json, encode, encode_json, to_builtins
from nanocore.wire.message import PUBLIC, Command, Event, Message, Query, Request, Result, result_type

__all__ = [
    "PUBLIC",
    "UNSET",
    "Command",
    "Event",
    "Message",
    "Meta",
    "Query",
    "Raw",
    "Request",
    "Result",
    "Struct",
    "UnsetType",
    "decode",
    "decode_json",
    "encode",
    "encode_json",
    "field",
    "result_type",
    "schema_components",
    "structs",
    "to_builtins",
]
