"""Replace the provider's model id in a JSON response with the requested one; no other byte changes.

Only an exact match is replaced: a dated snapshot (`gpt-4o-2024-08-06` for `gpt-4o`) stays. Where the provider's id is
None, every id is replaced: the response must not show the target of a virtual model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from proxy.decoding import decode_or_none
from proxy.inference.request.json_spans import STRING, Span, member_spans_or_empty
from proxy.inference.response.fields import COMMON, ResponseFields
from proxy.inference.response.tokens import UsageFields, reported_tokens
from proxy.telemetry import Tokens

_MODEL_MEMBER = re.compile(rb'"model"\s*:\s*(%b)' % STRING)


class _ResponseFields(UsageFields):
    model: str = ""


_decode_fields = msgspec.json.Decoder(_ResponseFields, strict=False).decode


def is_own(model: object, own_id: str | None) -> bool:
    """Return whether a value is the provider's id of the model."""
    return model == own_id if own_id is not None else isinstance(model, str)


def rename_model(
    response: bytes, own_id: str | None, public_id: str, names: ResponseFields = COMMON
) -> tuple[bytes, Tokens]:
    """Return a complete JSON response with its model replaced if it is exactly `own_id`, and the tokens it reports.

    A response that is not valid JSON is returned unchanged.
    """
    if own_id == public_id and names.usage_mark not in response:
        return response, Tokens()
    if names is not COMMON:
        return _rename_by_spans(response, own_id, public_id, names)
    fields = _fields_or_none(response)
    if fields is None:
        return _rename_by_spans(response, own_id, public_id)
    if own_id == public_id or not fields.model or not is_own(fields.model, own_id):
        return response, fields.tokens
    span = _only_model_span(response)
    if span is None:
        return _rename_by_spans(response, own_id, public_id)
    return _replace(response, span, public_id), fields.tokens


def model_span(
    response: bytes, spans: Mapping[str, Span], own_id: str | None, wrappers: Sequence[str] = (), name: str = "model"
) -> Span | None:
    """Return the span of the model if its value is `own_id`, in the object itself or in its members `wrappers`.

    `spans` are the members of `response`; `name`: of the field.
    """
    span = spans.get(name)
    if span and is_own(decode_or_none(response[slice(*span)]), own_id):
        return span
    for wrapper in wrappers:
        start, end = spans.get(wrapper, (0, 0))
        value = response[start:end]
        inner = model_span(value, member_spans_or_empty(value), own_id) if value.startswith(b"{") else None
        if inner:
            return start + inner[0], start + inner[1]
    return None


def _fields_or_none(response: bytes) -> _ResponseFields | None:
    try:
        return _decode_fields(response)
    except (ValueError, RecursionError):
        return None


def _only_model_span(response: bytes) -> Span | None:
    """Return the span of the value of `model` if no other member, at any depth, can have this name."""
    if response.count(b'"model"') != 1 or rb"\u" in response:  # only an escape can hide a name
        return None
    match = _MODEL_MEMBER.search(response)
    return match.span(1) if match else None


def _rename_by_spans(
    response: bytes, own_id: str | None, public_id: str, names: ResponseFields = COMMON
) -> tuple[bytes, Tokens]:
    """Do what `rename_model` does for native APIs, fields of unexpected types and several `model` members."""
    spans = member_spans_or_empty(response)
    found = (model_span(response, spans, own_id, name=name) for name in names.models if own_id != public_id)
    renamed = response
    for span in sorted(filter(None, found), reverse=True):  # the last one first: the others stay where they are
        renamed = _replace(renamed, span, public_id)
    return renamed, reported_tokens(response, spans, names)


def _replace(response: bytes, span: Span, public_id: str) -> bytes:
    start, end = span
    return response[:start] + msgspec.json.encode(public_id) + response[end:]
