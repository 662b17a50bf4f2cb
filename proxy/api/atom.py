"""The change feed as Atom (RFC 4287). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from uuid import UUID, uuid5

from proxy.telemetry.changes import Change, ChangeType, Feed
from proxy.wire.encoder import encode

MAX_ENTRIES = 200
_IDS = UUID("5f0d1c1e-6f1b-5d4e-9a55-3f6f6e0a7c11")
"""The namespace of the ids of entries, which never change."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TITLES: Mapping[ChangeType, str] = {
    "model_added": "Model added",
    "model_removed": "Model removed",
    "model_changed": "Model changed",
    "provider_failing": "Provider failing",
    "provider_recovered": "Provider recovered",
}


def atom(feed: Feed) -> bytes:
    """The newest changes, the newest first."""
    changes = feed.changes[: -MAX_ENTRIES - 1 : -1]
    updated = changes[0].at if changes else feed.complete_after / 1_000_000
    parts = [
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
        f"<id>urn:uuid:{_IDS}</id>\n<title>models-proxy: changes</title>\n<updated>{_date(updated)}</updated>\n"
        '<author><name>models-proxy</name></author>\n<link rel="self" href="changes.atom"/>\n'
    ]
    parts += map(_entry, changes)
    parts.append("</feed>\n")
    return "".join(parts).encode()


def _entry(change: Change) -> str:
    date = _date(change.at)
    return (
        f"<entry>\n<id>urn:uuid:{uuid5(_IDS, str(change.id))}</id>\n<title>{_text(title(change))}</title>\n"
        f'<updated>{date}</updated>\n<published>{date}</published>\n<category term="{change.type}"/>\n'
        f"<content>{_text(chr(10).join(_lines(change)))}</content>\n</entry>\n"
    )


def title(change: Change) -> str:
    """Return a one-line title with the subject of a change."""
    if change.part:
        return f"{_TITLES[change.type]}: {change.provider}, {change.part}: {change.before} -> {change.after}"
    subject = f"{change.more} further models" if change.more else change.model
    return f"{_TITLES[change.type]}: {subject} ({change.provider})"


def _lines(change: Change) -> Iterator[str]:
    yield title(change)
    for field in change.fields:
        yield f"{field.field}: {_value(field.before)} -> {_value(field.after)}"
    if change.reason:
        yield change.reason


def _value(value: object) -> str:
    return encode(value).decode()


def _date(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))
