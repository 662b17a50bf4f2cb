"""Readers of facts: a provider's value -> the value under the standard name, None if it is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from proxy.dialects import fact_names, metadata
from proxy.dialects.metadata import TYPES, Reader, capability, plain_name

_MAX_WORDS = 2048  # characters


def levels(value: object, price_per: int) -> bool | None:
    """True for a list of levels of effort, `none` and `off` aside."""
    if not isinstance(value, list):
        return None
    return any(isinstance(level, str) and level.lower() not in ("none", "off") for level in value) or None


def of_arrow(read: Reader) -> Reader:
    """Return a reader of `text+image->text` alone: a list does not show which side it is."""

    def read_arrow(value: object, price_per: int) -> Any:
        return read(value, price_per) if isinstance(value, str) and "->" in value else None

    return read_arrow


def type_if_true(type_: str) -> Reader:
    def read(value: object, price_per: int) -> str | None:
        return type_ if value is True else None

    return read


def known_type(value: object, price_per: int) -> str | None:
    return TYPES.get(plain_name(value)) if isinstance(value, str) else None


def vision_type(value: object, price_per: int) -> bool | None:
    """Whether a type includes images: `vlm` of LM Studio, `image-text-to-text` of Hugging Face."""
    return (isinstance(value, str) and plain_name(value) in ("vlm", "imagetexttotext", "visionlanguage")) or None


def _words(value: object) -> tuple[str, ...]:
    """A list of words, also in one text. Anything else, and anything long, has none."""
    if isinstance(value, str):
        value = re.split(r"[,;|\s]+", value[:_MAX_WORDS])
    try:
        # Bounded, because results are cached.
        return tuple(value) if isinstance(value, list) and len("".join(value)) <= _MAX_WORDS else ()
    except TypeError:
        return _words([word for word in value if isinstance(word, str)]) if isinstance(value, list) else ()


def signs(has_abilities: bool) -> Reader:
    """Return a reader of a list of words. Lists of abilities include the type, tags and features do not."""

    def read(value: object, price_per: int) -> Mapping[str, Any]:
        return _signs_in(_words(value), has_abilities)

    return read


@lru_cache(1024)
def _signs_in(listed: tuple[str, ...], has_abilities: bool) -> Mapping[str, Any]:
    plain = {plain_name(word).removeprefix("flag") for word in listed if isinstance(word, str)}
    signs: dict[str, Any] = {fact: True for fact, words in fact_names.SIGNS.items() if not words.isdisjoint(plain)}
    if has_abilities and (type_ := _type_of(plain)):
        # Ollama's `completion` includes chat for models with tools, reasoning or image input.
        signs["type"] = "chat" if type_ == "completion" and not fact_names.CHAT_SIGNS.isdisjoint(signs) else type_
    return signs


def methods(value: object, price_per: int) -> Mapping[str, Any] | None:
    """The type that endpoints and methods indicate: `/v1/chat/completions`, `embedContent`."""
    type_ = _type_of({re.sub("^v[0-9]+", "", plain_name(word)) for word in _words(value)})
    return {"type": type_} if type_ else None


def _type_of(words: Iterable[str]) -> str:
    """The type that words indicate, "" if they do not agree. What can chat is listed as that."""
    types = {fact_names.TYPE_WORDS[word] for word in words if word in fact_names.TYPE_WORDS}
    if "chat" in types:
        return "chat"
    return types.pop() if len(types) == 1 else ""


def _sign(fact: str) -> Reader:
    """Return a reader of a capability at a path that the operator names: a flag, or a list of words."""

    def read(value: object, price_per: int) -> bool | None:
        flag = capability(value, price_per)
        return _signs_in(_words(value), False).get(fact) if flag is None else flag

    return read


NAMES: Mapping[str, Reader] = {
    **metadata.NAMES,
    "supports_tools": _sign("supports_tools"),
    "supports_reasoning": _sign("supports_reasoning"),
}
"""Metadata name -> parser of a provider's value. A dot creates a nested object: `pricing.prompt`."""
