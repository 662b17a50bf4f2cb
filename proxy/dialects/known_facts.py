"""Normalized facts of a model, for access rules and for the lists of all clients.

An unknown fact is "", 0, None, or in neither of the sets of capabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import Struct

from proxy.dialects.metadata import TYPES

Capability = Literal["tools", "reasoning", "vision", "audio", "video", "file"]
CAPABILITIES: Final[tuple[Capability, ...]] = get_args(Capability)
"""What models can do besides text: call tools, reason, and read images, audio, video and files."""
TYPE_NAMES: Final = tuple(dict.fromkeys(TYPES.values()))
"""The types of models. Other types of providers are unknown types."""
TypeSource = Literal["", "list", "modalities", "name"]

_FLAGS: Mapping[str, Capability] = {"supports_tools": "tools", "supports_reasoning": "reasoning"}
_INPUTS: Mapping[str, Capability] = {"image": "vision", "audio": "audio", "video": "video", "file": "file"}
_TYPE_OF_OUTPUT: Mapping[str, str] = {
    "embedding": "embedding",
    "embeddings": "embedding",
    "image": "image",
    "audio": "audio",
    "speech": "audio",
    "video": "video",
    "rerank": "rerank",
}
"""The only output of a model -> its type. Models with more outputs, such as text and images, usually chat."""
_OTHER_WORDS: Mapping[str, str] = {"images": "image", "pdf": "file", "document": "file", "documents": "file"}
"""Words for inputs -> those with which capabilities are found."""


class Facts(Struct, frozen=True, gc=False):
    """The facts about one model."""

    type: str = ""
    """One of TYPE_NAMES."""
    type_source: TypeSource = ""
    """`list`: it is listed or declared; `modalities`: it follows from these; `name`: from the family in the name."""
    context: int = 0
    """The context length in tokens."""
    max_output: int = 0
    """The maximum number of tokens in a response."""
    inputs: tuple[str, ...] | None = None
    """Modalities, such as `text` and `image`."""
    outputs: tuple[str, ...] | None = None
    capabilities: frozenset[Capability] = frozenset()
    """The capabilities that the model has."""
    lacking: frozenset[Capability] = frozenset()
    """The capabilities that it does not have. Any other capability is unknown."""
    bundled: bytes = b""
    """Facts from bundled data that are not listed: a JSON object of fields, b"" without any."""


class _Shown(Struct, frozen=True, gc=False):
    """The fields of an entry that contain facts. Values that are no facts stay in them as the provider sent them."""

    type: Any = None
    context_length: Any = None
    max_output_tokens: Any = None
    input_modalities: Any = None
    output_modalities: Any = None
    supports_tools: Any = None
    supports_reasoning: Any = None


_OPEN = msgspec.json.Decoder(_Shown).decode


@lru_cache(4096)
def facts_in(extra: bytes) -> Facts:
    """Read the facts in the JSON of an entry (`Entry.extra`). Cached, because the lists of all policies and formats
    contain the same entries."""
    shown = _OPEN(extra)
    inputs = _words(shown.input_modalities)
    has, lacks = _capabilities(shown, inputs)
    outputs = _words(shown.output_modalities)
    is_typed = isinstance(shown.type, str) and shown.type in TYPE_NAMES
    type_ = shown.type if is_typed else _type_of_output(outputs)
    return Facts(
        type=type_,
        type_source="list" if is_typed else "modalities" if type_ else "",
        context=_tokens(shown.context_length),
        max_output=_tokens(shown.max_output_tokens),
        inputs=inputs,
        outputs=outputs,
        capabilities=has,
        lacking=lacks,
    )


def _tokens(value: object) -> int:
    return value if type(value) is int and value > 0 else 0


def _words(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not value:
        return None
    words = tuple(word for word in value if isinstance(word, str))
    return _shared_words(words) if len(words) == len(value) else None


@lru_cache(256)
def _shared_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same object for equal words: thousands of models have few lists."""
    return words


def _type_of_output(outputs: tuple[str, ...] | None) -> str:
    return _TYPE_OF_OUTPUT.get(outputs[0], "") if outputs and len(outputs) == 1 else ""


def _capabilities(shown: _Shown, inputs: tuple[str, ...] | None) -> tuple[frozenset[Capability], frozenset[Capability]]:
    """The capabilities that a model has, and those that it does not have. A list of inputs is complete."""
    flags = {capability: getattr(shown, field) for field, capability in _FLAGS.items()}
    has = {capability for capability, flag in flags.items() if flag is True}
    lacks = {capability for capability, flag in flags.items() if flag is False}
    if inputs is not None:
        words = {_OTHER_WORDS.get(word, word) for word in inputs}
        has |= {capability for word, capability in _INPUTS.items() if word in words}
        lacks |= {capability for word, capability in _INPUTS.items() if word not in words}
    return _shared_set(frozenset(has)), _shared_set(frozenset(lacks))


@lru_cache(256)
def _shared_set(capabilities: frozenset[Capability]) -> frozenset[Capability]:
    """The same object for equal sets, which occupy 216 bytes."""
    return capabilities
