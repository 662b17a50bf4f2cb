"""The generation of a configuration: a short hash of its effective values."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Any

import msgspec
from pydantic import BaseModel, SecretStr

_DIGITS = 12


def generation_of(values: object) -> str:
    """12 hexadecimal digits, equal for equal values on every machine, whatever the order of mapping keys.

    Secrets are left out (only their presence counts), so that they cannot be found by trying values.
    """
    return hashlib.sha256(_encoded(values)).hexdigest()[:_DIGITS]


def _encoded(values: object) -> bytes:
    try:
        return _ENCODER.encode(values)
    except (UnicodeEncodeError, OverflowError):
        # Variables can contain bytes that are not UTF-8, and numbers in YAML can have more than 64 bits.
        return json.dumps(msgspec.to_builtins(values, enc_hook=_plain, order="sorted")).encode()


def _plain(value: Any) -> object:
    if isinstance(value, SecretStr):
        return True
    if isinstance(value, BaseModel):
        return {name: _in_order(getattr(value, name)) for name in type(value).model_fields}
    raise NotImplementedError(f"a configuration contains no {type(value).__name__}")


def _in_order(value: object) -> object:
    """A setting; mappings whose order matters are pairs."""
    return [*value.items()] if isinstance(value, OrderedDict) else value


_ENCODER = msgspec.json.Encoder(enc_hook=_plain, order="sorted")
