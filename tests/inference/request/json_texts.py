"""JSON texts with whitespace, escapes and lone surrogates, for Hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st


def pairs_of(text: bytes) -> list[tuple[str, Any]]:
    """The members of an object, including duplicates; inner objects are such lists, too."""
    pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    return pairs


def has_lone_surrogates(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def has_duplicates(value: Any) -> bool:
    """Whether a value as `pairs_of` returns it has an object with duplicate names in it."""
    if not isinstance(value, list):
        return False
    names = [item[0] for item in value if isinstance(item, tuple)]
    inner = (item[1] if isinstance(item, tuple) else item for item in value)
    return len(set(names)) < len(names) or any(map(has_duplicates, inner))


def without_surrogates(body: bytes) -> bytes:
    """A text of the same length in which surrogates are replaced by ordinary characters."""
    return body.replace(rb"\ud", rb"\uc").replace(rb"\uD", rb"\uC")


whitespace = st.text(" \t\r\n", max_size=2)


def json_string(text: str, escapes: list[bool]) -> str:
    """A JSON string in which some characters are escaped."""
    out = []
    for char, escape in zip(text, escapes, strict=True):
        encoded = char.encode("utf-16-be", "surrogatepass")
        units = [encoded[at : at + 2].hex() for at in range(0, len(encoded), 2)]
        out.append("".join(f"\\u{unit}" for unit in units) if escape or char in '"\\' or char < " " else char)
    return '"' + "".join(out) + '"'


@st.composite
def strings(draw: st.DrawFn, characters: st.SearchStrategy[str] | None = None) -> str:
    text = draw(characters if characters is not None else st.text(max_size=6))
    return json_string(text, draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text))))


@st.composite
def brackets(draw: st.DrawFn, items: st.SearchStrategy[str], ends: str) -> str:
    """An array (`ends` is "[]") or an object ("{}")."""
    inside = ",".join(draw(whitespace) + item + draw(whitespace) for item in draw(st.lists(items, max_size=4)))
    return ends[0] + (inside or draw(whitespace)) + ends[1]


@st.composite
def fields(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    return draw(strings()) + draw(whitespace) + ":" + draw(whitespace) + draw(values)


numbers = st.sampled_from(["0", "-0", "1", "12", "123", "1.5", "1e5", "-1.25E-3", "123456789012345678901234567890"])
lone_surrogates = st.sampled_from([r'"\ud800"', r'"a\uDC00b"', r'"\ud83d\ude00\ud83d"', r'"\\ud800"'])
values = st.recursive(
    st.one_of(st.sampled_from(["null", "true", "false"]), numbers, strings(), lone_surrogates),
    lambda inner: st.one_of(brackets(inner, "[]"), brackets(fields(inner), "{}")),
    max_leaves=6,
)
objects = brackets(fields(values), "{}")
