"""Message types to marshmallow schemas, so that one request learns all its field errors at once."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

import marshmallow
from marshmallow import fields, validate

from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import LABEL_PATTERN
from nanocore.wire import Meta, Struct, UnsetType, structs

MAX_INTEGER = 2**63 - 1
"""JSON knows no limit, but the wire between nodes does."""
MAX_ITEM_DEPTH = 3
"""How deep a filter's dotted path may reach into an item."""


class _Float(fields.Float):
    """A number in JSON; marshmallow's own also takes texts."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:  # noqa: ANN401
        if isinstance(value, str | bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class _Boolean(fields.Boolean):
    """``true`` or ``false``; marshmallow's own also takes texts and numbers."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


def body_schema(infos: Iterable[structs.FieldInfo]) -> marshmallow.Schema:
    """Return the schema that a JSON object must fit."""
    return _schema(infos, is_text=False)


def text_schema(infos: Iterable[structs.FieldInfo]) -> marshmallow.Schema:
    """Return the schema that path and query parameters must fit; it turns their texts into values."""
    return _schema(infos, is_text=True)


def is_plain_text(kind: Any) -> bool:  # noqa: ANN401  a type expression
    """Return whether ``kind`` is a text without limits."""
    bare, metas = _unwrap(kind)
    return bare is str and not _validators(metas)


def takes_many(schema: marshmallow.Schema, name: str) -> bool:
    """Return whether field ``name`` is a list, so that its parameter may be repeated."""
    return isinstance(schema.fields[name], fields.List)


def validate_into(schema: marshmallow.Schema, data: Any, errors: dict[str, list[str]]) -> dict[str, Any]:  # noqa: ANN401
    """Return ``data`` as ``schema`` loads it, or add what is wrong with it to ``errors``, by field path."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except marshmallow.ValidationError as error:
        _flatten(error.messages, "", errors)
        return {}
    return loaded


def raise_errors(errors: dict[str, list[str]]) -> None:
    """Raise ``invalid_argument`` naming every field in ``errors``; return if there is none."""
    if errors:
        first = next(iter(errors))
        text = "; ".join(f"{name}: {' '.join(messages)}" for name, messages in errors.items())
        raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field=first, errors=errors)


def item_paths(kind: type[Any]) -> frozenset[str]:
    """Return the dotted paths that a list of ``kind`` can be filtered and sorted by."""
    return frozenset(_paths(kind, "", 0))


def _paths(kind: Any, prefix: str, depth: int) -> Iterable[str]:  # noqa: ANN401  a type expression
    for info in structs.fields(kind):
        path = prefix + info.encode_name
        yield path
        inner = _inner_struct(info.type)
        if inner is not None and depth < MAX_ITEM_DEPTH:
            yield from _paths(inner, f"{path}.", depth + 1)


def _inner_struct(kind: Any) -> type[Struct] | None:  # noqa: ANN401  a type expression
    bare, _ = _unwrap(kind)
    members, _ = _members(bare)
    if len(members) != 1:
        return None
    bare, _ = _unwrap(members[0])
    if get_origin(bare) is list:
        bare, _ = _unwrap(get_args(bare)[0])
    return bare if isinstance(bare, type) and issubclass(bare, Struct) else None


def _schema(infos: Iterable[structs.FieldInfo], *, is_text: bool) -> marshmallow.Schema:
    members: dict[str, Any] = {
        info.encode_name: _field(info.type, is_required=info.required, is_text=is_text) for info in infos
    }
    return marshmallow.Schema.from_dict(members)(unknown=marshmallow.RAISE)


def _field(kind: Any, *, is_required: bool, is_text: bool) -> fields.Field[Any]:  # noqa: ANN401  a type expression
    bare, metas = _unwrap(kind)
    members, allow_none = _members(bare)
    if len(members) == 1:
        bare, more = _unwrap(members[0])
        metas = [*metas, *more]
    options: dict[str, Any] = {"required": is_required, "allow_none": allow_none, "validate": _validators(metas)}
    if len(members) != 1:
        return fields.Raw(**options)
    return _bare_field(bare, options, is_text=is_text)


def _bare_field(bare: Any, options: dict[str, Any], *, is_text: bool) -> fields.Field[Any]:  # noqa: ANN401
    origin = get_origin(bare)
    if origin in (list, tuple, set, frozenset) and get_args(bare):
        return fields.List(_field(get_args(bare)[0], is_required=False, is_text=is_text), **options)
    if origin is dict or bare is dict:
        return fields.Dict(keys=fields.String(), **options)
    if not isinstance(bare, type):
        return fields.Raw(**options)
    if issubclass(bare, Enum):
        choices = [member.value for member in bare]
        options["validate"] = [*options["validate"], validate.OneOf(choices, error="Must be one of: {choices}.")]
        return fields.String(**options)
    if issubclass(bare, Struct):
        return fields.Nested(lambda: body_schema(structs.fields(bare)), **options)
    return _scalar(bare, options, is_text=is_text)


def _scalar(bare: type[Any], options: dict[str, Any], *, is_text: bool) -> fields.Field[Any]:
    if bare is bool:
        return fields.Boolean(**options) if is_text else _Boolean(**options)
    if bare is int:
        options["validate"] = [*options["validate"], validate.Range(-MAX_INTEGER - 1, MAX_INTEGER)]
        return fields.Integer(**options) if is_text else fields.Integer(strict=True, **options)
    if bare is float:
        return fields.Float(**options) if is_text else _Float(**options)
    if bare is str:
        return fields.String(**options)
    if bare is datetime:
        return fields.AwareDateTime(format="iso", **options)
    return fields.Raw(**options)


def _validators(metas: list[Meta]) -> list[validate.Validator]:
    found: list[validate.Validator] = []
    for meta in metas:
        low, high = (meta.ge if meta.ge is not None else meta.gt), (meta.le if meta.le is not None else meta.lt)
        if low is not None or high is not None:
            found.append(validate.Range(low, high, min_inclusive=meta.gt is None, max_inclusive=meta.lt is None))
        if meta.min_length is not None or meta.max_length is not None:
            found.append(validate.Length(meta.min_length, meta.max_length))
        if meta.pattern is not None:
            # `$` also matches before a last line feed, which no name may end with.
            pattern = re.compile(re.sub(r"\$$", r"\\Z", meta.pattern))
            wanted = (
                f"{meta.description} (pattern {meta.pattern})" if meta.description else f"Must match {meta.pattern}"
            )
            shown = wanted.replace("{", "{{").replace("}", "}}")  # marshmallow formats the text
            if meta.pattern == LABEL_PATTERN:
                shown = "Must be one line of printable characters"
            found.append(validate.Regexp(pattern, error=f"{shown}."))
    return found


def _unwrap(kind: Any) -> tuple[Any, list[Meta]]:  # noqa: ANN401  a type expression
    """Return ``kind`` without ``Annotated`` and ``NewType``, and what they said."""
    metas: list[Meta] = []
    while True:
        if get_origin(kind) is Annotated:
            metas += [meta for meta in kind.__metadata__ if isinstance(meta, Meta)]
            kind = get_args(kind)[0]
        elif hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        else:
            return kind, metas


def _members(kind: Any) -> tuple[list[Any], bool]:  # noqa: ANN401  a type expression
    """Return the members of a union without ``None``, and whether it was among them."""
    if get_origin(kind) not in (Union, types.UnionType):
        return [kind], False
    members = get_args(kind)
    return [member for member in members if member not in (type(None), UnsetType)], type(None) in members


def _inner_path(path: str, name: Any) -> str:  # noqa: ANN401  a field's name or a list's index
    """Return the path of a part: ``disks[1].size_bytes``."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path and name != "_schema" else path or str(name)


def _flatten(messages: Any, path: str, into: dict[str, list[str]]) -> None:  # noqa: ANN401  marshmallow's nesting
    if isinstance(messages, dict):
        for name, inner in messages.items():
            _flatten(inner, _inner_path(path, name), into)
    else:
        into.setdefault(path, []).extend(str(message) for message in messages)
