"""What cloud-init would make of user-data, judged before a guest boots with it. Pure.

Kinds are told by the first line, as cloud-init does (``cloudinit.handlers.INCLUSION_TYPES_MAP``).
"""

from __future__ import annotations

import re
from email import message_from_string
from email.message import Message

import yaml

from nanocore.capabilities.guest import MAX_USER_DATA_BYTES, UserDataKind
from nanocore.errors import ErrorCode, NanoError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FIELD = "cloud_init.user_data"
MAX_PART_DEPTH = 10
MERGE_TAG = "tag:yaml.org,2002:merge"
MAX_MERGED = 10_000
"""Keys that `<<` may bring into mappings: each can bring in another's, so that 300 bytes are billions of keys."""
_UNREADABLE = (ValueError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for a value that is not of its own type: ``2024-13-45``, ``0x_``, ``!!bool maybe``."""
_STARTS: tuple[tuple[str, UserDataKind], ...] = (
    ("#cloud-config-archive", UserDataKind.ARCHIVE),
    ("#cloud-config", UserDataKind.CLOUD_CONFIG),
    ("#cloud-boothook", UserDataKind.BOOTHOOK),
    ("#include", UserDataKind.INCLUDE),
    ("## template: jinja", UserDataKind.JINJA),
    ("#!", UserDataKind.SCRIPT),
)
_PART_TYPES = frozenset(
    {
        "text/cloud-config",
        "text/cloud-config-archive",
        "text/cloud-config-jsonp",
        "text/cloud-boothook",
        "text/jinja2",
        "text/part-handler",
        "text/x-include-url",
        "text/x-include-once-url",
        "text/x-shellscript",
        "text/x-shellscript-per-boot",
        "text/x-shellscript-per-instance",
        "text/x-shellscript-per-once",
    }
)
_MIME_HEADER = re.compile(r"^(content-type|mime-version):", re.IGNORECASE)
_GUESSED = frozenset({"text/plain", "text/x-not-multipart"})
"""Parts of these types are told by their first line."""


def kind_of(text: str) -> UserDataKind | None:
    """Return the kind by the first line, ``None`` for what cloud-init would ignore."""
    if _MIME_HEADER.match(text):
        return UserDataKind.MULTIPART
    return next((kind for start, kind in _STARTS if text.startswith(start)), None)


def check(text: str) -> UserDataKind:
    """Return the kind; raise ``invalid_argument`` for what cloud-init would ignore or fail on."""
    size = len(text.encode())
    if size > MAX_USER_DATA_BYTES:
        raise _wrong(f"user-data has {size} bytes, more than {MAX_USER_DATA_BYTES}; let it fetch the rest itself")
    if "\0" in text:
        raise _wrong("user-data is not text: it has a zero byte")
    kind = kind_of(text)
    if kind is None:
        raise _wrong(
            f"cloud-init would ignore user-data that begins with {text.lstrip()[:40]!r}; its first line must be "
            "#cloud-config, a script's #!, #include, #cloud-boothook, ## template: jinja, or a MIME header"
        )
    if kind is UserDataKind.MULTIPART:
        _check_parts(_read_parts(text))
    else:
        _check_part(kind, text, "user-data")
    return kind


def _check_part(kind: UserDataKind, text: str, what: str) -> None:
    if kind in {UserDataKind.CLOUD_CONFIG, UserDataKind.ARCHIVE}:
        wanted = list if kind is UserDataKind.ARCHIVE else dict
        value = _parse(text, what)
        if not isinstance(value, wanted):
            name = "list" if wanted is list else "mapping of keys to values"
            raise _wrong(f"{what}: below #{kind.value} there must be a {name}; cloud-init would ignore this")
    elif kind is UserDataKind.SCRIPT and "\r" in text.split("\n", 1)[0]:
        raise _wrong(f"{what}: the script has Windows line ends, so no interpreter is found; convert it to LF")


def _parse(text: str, what: str) -> object:
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _merged_size(node, {}) > MAX_MERGED:
            raise _wrong(f"{what}: its YAML merges (`<<`) more than {MAX_MERGED} keys into mappings")
        return loader.construct_document(node)
    except RecursionError as error:
        raise _wrong(f"{what}: its YAML is nested too deeply") from error
    except _UNREADABLE as error:
        raise _wrong(f"{what}: its YAML has a value that can't be read: {str(error)[:100] or 'it is empty'}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read"
        raise _wrong(f"{what}: bad YAML{place}: {problem}") from error
    finally:
        loader.dispose()


def _merged_size(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Return how many keys all merges below ``node`` bring; of what is merged more than once, each time."""
    total = 0
    waiting, seen = [node], {node}
    while waiting:
        each = waiting.pop()
        if isinstance(each, yaml.MappingNode):
            total += sum(_entries(value, known) for key, value in each.value if key.tag == MERGE_TAG)
            inner = [part for pair in each.value for part in pair]
        else:
            inner = each.value if isinstance(each, yaml.SequenceNode) else []
        waiting += [part for part in inner if part not in seen]
        seen.update(inner)
    return total


def _entries(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Return how many keys a mapping has once merged, or all mappings of a list."""
    if node not in known:
        known[node] = 0  # one that merges itself ends here, as it does for PyYAML
        if isinstance(node, yaml.SequenceNode):
            known[node] = sum(_entries(part, known) for part in node.value)
        elif isinstance(node, yaml.MappingNode):
            known[node] = sum(_entries(value, known) if key.tag == MERGE_TAG else 1 for key, value in node.value)
    return known[node]


def _read_parts(text: str) -> Message:
    """Return the parts; refuse what only a deep recursion could write into a seed again."""
    deep = _wrong(f"user-data: its MIME parts are nested deeper than {MAX_PART_DEPTH} levels")
    try:
        message = message_from_string(text)
    except RecursionError as error:
        raise deep from error
    level = [message]
    for _ in range(MAX_PART_DEPTH):
        level = [part for each in level if each.is_multipart() for part in _parts_of(each)]
        if not level:
            return message
    raise deep


def _parts_of(message: Message) -> list[Message]:
    parts = message.get_payload()
    return [part for part in parts if isinstance(part, Message)] if isinstance(parts, list) else []


def _check_parts(message: Message) -> None:
    if not message.is_multipart():
        raise _wrong("user-data begins with a MIME header but has no parts: Content-Type must name its boundary")
    for number, part in enumerate((part for part in message.walk() if not part.is_multipart()), start=1):
        what = f"user-data, part {number}"
        kind = part.get_content_type()
        payload = part.get_payload(decode=True)
        text = payload.decode(errors="replace") if isinstance(payload, bytes) else ""
        if kind in _GUESSED:
            found = kind_of(text)
            if found is None or found is UserDataKind.MULTIPART:
                raise _wrong(
                    f"{what}: cloud-init would ignore it: neither its Content-Type ({kind}) nor its first line"
                )
            _check_part(found, text, what)
        elif kind not in _PART_TYPES:
            raise _wrong(f"{what}: cloud-init does not know its Content-Type {kind[:80]}")
        elif kind == "text/cloud-config":
            _check_part(UserDataKind.CLOUD_CONFIG, text, what)


def _wrong(message: str) -> NanoError:
    return NanoError(ErrorCode.INVALID_ARGUMENT, message, field=FIELD)
