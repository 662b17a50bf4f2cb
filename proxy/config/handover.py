"""A configuration as bytes, from the process that validated it to the one that uses it.

Validating thousands of keys takes a second of CPU. Another process does that, and hands over the validated groups and
keys, and the rest of the files as parsed: that is validated again, because it becomes objects that have no form as
bytes. Only plain values are decoded, into the types below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from sys import intern
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from proxy.config import document as yaml_document
from proxy.config.call_limits import CallLimits
from proxy.config.document import Document
from proxy.config.documents import Documents
from proxy.config.keys import Members
from proxy.config.loader import of_documents, read_again
from proxy.config.places import Places
from proxy.config.problems import ConfigError, Problem
from proxy.config.settings import Config, Group, Key
from proxy.config.sources import SourceLog, Sources

_Paths = list[tuple[yaml_document.Path, Any]]
_MEMBERS = (("groups",), ("keys",))
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_INT, _DATE, _DATETIME, _TEXT = range(4)
_FROM_TEXT: Sequence[Callable[[str], object]] = (int, date.fromisoformat, datetime.fromisoformat, str)
"""Values of YAML that the format does not have. Texts: those that are not UTF-8, from the environment."""


class _File(msgspec.Struct, array_like=True):
    """A document without its groups, keys and extensions."""

    path: str
    value: Any
    lines: list[tuple[yaml_document.Path, int]]
    texts: list[tuple[yaml_document.Path, str]]
    unset: list[tuple[yaml_document.Path, tuple[str, ...]]]


class _Group(msgspec.Struct, array_like=True):
    name: Any
    rules: int
    """Their number in `_Valid.rules`."""
    call: bool | None
    limits: int
    group_limits: int


class _Key(msgspec.Struct, array_like=True):
    name: str
    digests: tuple[bytes, ...]
    rules: int
    """Their number: most keys have the rules of a group."""
    group: str | None
    expires: date | None
    admin: bool
    may_call: bool
    limits: int
    """Their number in `_Valid.limits`."""
    not_before: date | None
    allowed_ips: tuple[str, ...] | None


class _Sources(msgspec.Struct, array_like=True):
    files: dict[str, tuple[int, ...] | None]
    patterns: dict[str, tuple[str, ...]]


class _Valid(msgspec.Struct, array_like=True, tag=0):
    files: list[_File]
    rules: list[tuple[Any, ...]]
    limits: list[dict[str, Any] | None]
    groups: list[_Group]
    keys: list[_Key]
    warnings: tuple[str, ...]
    sources: _Sources
    places: bytes


class _Invalid(msgspec.Struct, array_like=True, tag=1):
    problems: list[tuple[int, str, str, str]]
    sources: _Sources


def packed(path: str) -> bytes:
    """Read a configuration and validate all of it. Returns it, or its problems, as bytes for `unpacked`."""
    try:
        return pack(*read_again(path))
    except ConfigError as error:
        problems = [(each.line, each.setting, each.text, each.file) for each in error.problems]
        return msgspec.msgpack.encode(_Invalid(problems, _portable_sources(error.sources)))


def pack(documents: Documents, config: Config) -> bytes:
    """Return a configuration, and the documents that it is from, as bytes for `unpacked`."""
    return msgspec.msgpack.encode(_valid(documents, config))


def unpacked(data: bytes, path: str) -> Config:
    """The configuration in the bytes. Raises ConfigError with its problems, ValueError for other bytes.

    Files with secrets are read here: they do not travel.
    """
    result = _DECODE(data)
    sources = Sources(result.sources.files, result.sources.patterns)
    try:
        if isinstance(result, _Invalid):
            raise ConfigError(path, [Problem(*problem) for problem in result.problems])
        main, *included = [_document(file) for file in result.files]
        config = of_documents(Documents(main, included), SourceLog(), members=_members(result))
    except ConfigError as error:
        error.sources = sources
        raise
    return replace(config, warnings=result.warnings, sources=sources, places=Places(result.places))


# -- from values to bytes ----------------------------------------------------------------------------------------------


def _valid(documents: Documents, config: Config) -> _Valid:
    rules: dict[tuple[str, ...], int] = {}
    limits: dict[CallLimits | None, int] = {}
    groups = [
        _Group(
            _portable(name),
            rules.setdefault(group.models, len(rules)),
            group.call,
            limits.setdefault(group.limits, len(limits)),
            limits.setdefault(group.group_limits, len(limits)),
        )
        for name, group in config.groups.items()
    ]
    keys = [
        _Key(
            key.name,
            key.digests,
            rules.setdefault(key.rules, len(rules)),
            key.group,
            key.expires,
            key.admin,
            key.may_call,
            limits.setdefault(key.limits, len(limits)),
            key.not_before,
            key.allowed_ips,
        )
        for key in config.keys
    ]
    return _Valid(
        [_portable_file(document) for document in documents.files],
        [tuple(map(_portable, each)) for each in rules],
        [each.written() if each else None for each in limits],
        groups,
        keys,
        config.warnings,
        _portable_sources(config.sources),
        config.places.packed,
    )


def _portable_file(document: Document) -> _File:
    value: Mapping[str, Any] = document.value
    # That there are keys matters to other sections.
    rest = {
        name: [{}] if name == "keys" and value[name] else value[name]
        for name in value
        if name != "groups" and not yaml_document.is_extension((name,))
    }
    return _File(
        document.path,
        _portable(rest),
        _needed(document.lines),
        _needed(document.texts),
        _needed(document.unset),
    )


def _needed(values: Mapping[yaml_document.Path, Any]) -> _Paths:
    """What is not about groups, keys or extensions."""
    return [
        (path, values[path]) for path in values if path[:1] not in _MEMBERS and not yaml_document.is_extension(path)
    ]


def _portable(value: Any) -> Any:
    match value:
        case dict():
            return {name: _portable(value[name]) for name in value}
        case list():
            return [_portable(item) for item in value]
        case int() if value.bit_length() > 63:
            return Ext(_INT, str(value).encode())
        case datetime():
            return Ext(_DATETIME, value.isoformat().encode())
        case date():
            return Ext(_DATE, value.isoformat().encode())
        case str() if _SURROGATE.search(value):
            return Ext(_TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def _portable_sources(sources: Sources) -> _Sources:
    return _Sources(dict(sources.files), dict(sources.patterns))


# -- from bytes to values ----------------------------------------------------------------------------------------------


def _document(file: _File) -> Document:
    return Document(file.path, value=file.value, lines=dict(file.lines), texts=dict(file.texts), unset=dict(file.unset))


def _members(result: _Valid) -> Members:
    # Without validation, which takes a second for 300,000 rules.
    limits = [None if each is None else CallLimits.model_validate(each) for each in result.limits]
    groups = {
        group.name: Group.model_construct(
            models=result.rules[group.rules],
            call=group.call,
            limits=limits[group.limits],
            group_limits=limits[group.group_limits],
        )
        for group in result.groups
    }
    keys = tuple(
        Key(
            name=key.name,
            digests=key.digests,
            rules=result.rules[key.rules],
            group=key.group and intern(key.group),
            expires=key.expires,
            admin=key.admin,
            may_call=key.may_call,
            limits=limits[key.limits],
            not_before=key.not_before,
            allowed_ips=key.allowed_ips,
        )
        for key in result.keys
    )
    return Members(groups, keys)


def _from_ext(code: int, data: memoryview) -> object:
    text = bytes(data).decode("utf-8", "surrogatepass")
    return _FROM_TEXT[code](text)


_DECODE = msgspec.msgpack.Decoder(_Valid | _Invalid, ext_hook=_from_ext).decode
