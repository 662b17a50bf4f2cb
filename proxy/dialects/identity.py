"""The names of one entry: the id without a prefix, and other names that the provider accepts for the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from msgspec.structs import replace

from proxy.dialects.diagnosis import CONTROL
from proxy.dialects.entry import Entry

MAX_ID_BYTES = 256
SHORT_ID = MAX_ID_BYTES // 4
"""Characters: an id that is not longer has at most MAX_ID_BYTES bytes."""
MAX_ALIASES = 50
RESOURCE_PREFIXES = ("models/", "projects/")
"""Beginnings of resource names."""
_RESOURCE_NAME = re.compile(r"(?:projects/[^/]+/(?:[^/]+/[^/]+/)*)?models/([^/]+)")
# LiteLLM lists what a key allows. If that is one of its rules, it lists the name of the rule.
ACCESS_RULES = frozenset(("all-team-models", "all-proxy-models", "all-org-models", "no-default-models"))
_FILE = (".bin", ".ggml", ".gguf", ".onnx", ".pt", ".safetensors")
_ENGINES = frozenset(("aphrodite", "llama.cpp", "llamacpp", "lmdeploy", "mlx", "ollama", "sglang", "tgi", "vllm"))
"""Owners that local engines report. `models/m` is a path there, and calls accept exactly this id."""


def problem_of_id(own_id: str) -> str:
    """Why a text cannot be an id, "" if it can."""
    if not own_id:
        return "empty id"
    if not own_id.isprintable() and CONTROL.search(own_id):
        return "id contains control characters"
    if own_id.isspace():
        return "blank id"
    if len(own_id) > SHORT_ID and len(own_id.encode()) > MAX_ID_BYTES:
        return f"id longer than {MAX_ID_BYTES} bytes"
    return ""


def why_no_model(own_id: str) -> str:
    """Why an id is not that of a model, "" if it can be."""
    if "*" in own_id:
        return "wildcard, not a model"
    return "name of an access rule, not a model" if own_id in ACCESS_RULES else ""


def without_prefix(own_id: str, prefixes: Sequence[str]) -> str:
    """An id without the first of these prefixes that matches. `*` matches anything but a slash."""
    for prefix in prefixes:
        if match := _prefix(prefix).match(own_id):
            return own_id[match.end() :]
    return own_id


@cache
def _prefix(prefix: str) -> re.Pattern[str]:
    return re.compile(re.escape(prefix).replace(r"\*", "[^/]+"))


def bare_name(own_id: str, payload: Mapping[str, Any]) -> str:
    """The last part of a resource name (`models/m`, `projects/p/locations/l/models/m`), which calls accept.

    Any other id is returned unchanged, also a path of a local engine.
    """
    match = _RESOURCE_NAME.fullmatch(own_id)
    if match is None or own_id.lower().endswith(_FILE):
        return own_id
    owner = payload.get("owned_by")
    is_path = owner == own_id or (isinstance(owner, str) and owner.lower() in _ENGINES)
    return own_id if is_path else match[1]


def aliases_of(payload: Mapping[str, Any], fields: Iterable[str], own_id: str) -> tuple[str, ...]:
    """The names in these fields, without duplicates; at most MAX_ALIASES. Names that are not valid ids are ignored."""
    values = [payload.get(field) for field in fields]
    lists = [value if isinstance(value, list) else [value] for value in values]
    names = [name for names in lists for name in names[:MAX_ALIASES] if isinstance(name, str) and name != own_id]
    return tuple({name: None for name in names if not problem_of_id(name) and not why_no_model(name)})[:MAX_ALIASES]


def restore_collisions(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the entries of a list with prefixes put back where different ids would become equal without them."""
    shortened = [entry for entry in entries if entry.written]
    if not shortened:
        return tuple(entries)
    written: dict[str, str] = {}
    colliding: set[str] = set()
    for entry in entries:
        if written.setdefault(entry.id, entry.written) != entry.written:
            colliding.add(entry.id)
    return tuple(_as_written(entry) if entry.written and entry.id in colliding else entry for entry in entries)


def _as_written(entry: Entry) -> Entry:
    root = entry.written if entry.root == entry.id else entry.root
    return replace(entry, id=entry.written, root=root, written="")
