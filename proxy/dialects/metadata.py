"""Standard names for model metadata, and a parser for each value.

A value of an unexpected type is not converted: it stays in its original field. `facts` defines where values are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from proxy.dialects.times import unix_seconds

_WORDS_OF_TYPES = {
    "chat": "chat chatcompletion chatcompletions chatmodel llm vlm mllm language languagemodel largelanguagemodel "
    "visionlanguage text textgen textgeneration texttotext text2text imagetexttotext conversational multimodal "
    "responses llmv1chat",
    "completion": "completion completions textcompletion codecompletion fim llmv1completions",
    "embedding": "embedding embeddings embed textembedding textembeddings featureextraction sentencesimilarity "
    "embeddingmodel multimodalembedding vectorembedding llmv1embeddings",
    "image": "image images imagegeneration imagegenerations imagegen texttoimage imagetoimage imageedit imageediting "
    "text2image image2image t2i diffusion",
    "audio": "audio speech tts stt asr texttospeech speechtotext text2speech speech2text automaticspeechrecognition "
    "speechrecognition transcription transcribe audiotranscription audiotranscriptions audiospeech audiogeneration "
    "texttoaudio voice music",
    "rerank": "rerank reranker reranking textranking textrerank ranking",
    "moderation": "moderation moderations textmoderation contentmoderation",
    "video": "video videos videogeneration videogen texttovideo imagetovideo text2video image2video t2v i2v",
}
TYPES: Mapping[str, str] = {word: type_ for type_, words in _WORDS_OF_TYPES.items() for word in words.split()}
"""Plain names of types -> the standard word."""

Reader = Callable[[Any, int], Any]
"""A provider's value and the number of tokens per price -> the value shown, None if it is invalid."""


_SEPARATORS = re.compile(r"[\W_]+")
# Longer numbers are not prices: `1e999999` would become a megabyte of digits.
DECIMAL = re.compile(r"[0-9]{1,15}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)


@lru_cache(8192)
def plain_name(name: str) -> str:
    """A name in lower case without separators: `maxTokens`, `max-tokens` and `max_tokens` are all `maxtokens`."""
    return _SEPARATORS.sub("", name).lower()


def _text(value: object, price_per: int) -> str | None:
    return value if isinstance(value, str) and value else None


def _type(value: object, price_per: int) -> str | None:
    """The standard word for a type, or else the provider's word. Several joined with commas (AiHubMix) are not one."""
    if not isinstance(value, str) or not value or "," in value:
        return None
    return TYPES.get(plain_name(value), value)


def whole(value: object, price_per: int) -> int | None:
    """A positive integer. Cohere sends 4096.0, others send strings."""
    if type(value) is int:
        return value if 0 < value < 10**15 else None  # the common case
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 15:
        value = int(value)
    if isinstance(value, dict):
        value = next((value[name] for name in ("total", "max", "value", "tokens", "limit") if name in value), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**15:
        return None
    return int(value) if value == int(value) else None


def _names(value: object, price_per: int) -> list[str] | None:
    """A list of names, or a string of names joined with commas (AiHubMix)."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if not isinstance(value, list) or not value:
        return None
    for name in value:  # a loop is fastest for one or two names, the common case
        if type(name) is not str:
            return None
    return value


def _modalities(side: int) -> Reader:
    """Return a reader of names in lower case, also of an object of flags, and of one side of `text+image->text`."""

    def read(value: object, price_per: int) -> list[str] | None:
        try:
            if type(value) is list and "".join(value).islower():
                return value  # the common case
        except TypeError:
            return None  # not a list of names
        if isinstance(value, dict):
            value = [name for name, has in value.items() if has is True]
        if isinstance(value, str) and value.count("->") == 1:
            value = value.split("->")[side].split("+")
        names = _names(value, price_per)
        return None if names is None else [name.lower() for name in names]

    return read


inputs, outputs = _modalities(0), _modalities(1)


def _flag(value: object, price_per: int) -> bool | None:
    return value if isinstance(value, bool) else None


def _deprecated(value: object, price_per: int) -> bool | None:
    """A flag, or a state of Bedrock models."""
    return True if value == "LEGACY" else _flag(value, price_per)


def capability(value: object, price_per: int) -> bool | None:
    """A flag, also as text or within an object (Anthropic: `{supported: true}`)."""
    if isinstance(value, dict):
        value = next((value[name] for name in ("supported", "enabled", "available") if name in value), None)
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def _seconds(value: object, price_per: int) -> int | None:
    return unix_seconds(value) or None


def _price(value: object, price_per: int) -> str | None:
    """The price of one token as a decimal string, because a float is not exact."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    return f"{(Decimal(text) / price_per).normalize():f}" if DECIMAL.fullmatch(text) else None


NAMES: Mapping[str, Reader] = {
    "display_name": _text,
    "description": _text,
    "type": _type,
    "context_length": whole,
    "max_output_tokens": whole,
    "input_modalities": inputs,
    "output_modalities": outputs,
    "supports_tools": capability,
    "supports_reasoning": capability,
    "deprecated": _deprecated,
    "deprecated_at": _seconds,
    "shutdown_at": _seconds,
    "updated_at": _seconds,
    "released_at": _seconds,
    "pricing.prompt": _price,
    "pricing.completion": _price,
}
"""Metadata name -> parser of a single value. `facts.NAMES` also has those of lists."""

_EXPECTED: Mapping[Reader, str] = {
    _text: "a non-empty string",
    _type: "a single word",
    whole: "a positive whole number",
    inputs: "a list of strings",
    outputs: "a list of strings",
    capability: "true or false",
    _deprecated: "true or false",
    _seconds: "a time, like 2026-01-31 or Unix seconds",
    _price: 'the price of one token, like "0.0000025"',
}


def expected_value(name: str) -> str:
    """What a valid value of a metadata name is, for messages."""
    return _EXPECTED[NAMES[name]]
