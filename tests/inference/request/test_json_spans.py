"""The spans of the members of a JSON object."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given

from proxy.inference.request.json_spans import duplicate_field, member_spans
from tests.inference.request.json_texts import (
    has_lone_surrogates,
    objects,
    pairs_of,
    whitespace,
    without_surrogates,
)


@given(objects, whitespace, whitespace)
def test_members_match_another_parser_or_a_duplicate_is_rejected(text: str, before: str, after: str) -> None:
    body = (before + text + after).encode()
    pairs = pairs_of(body)
    if has_lone_surrogates(pairs):  # names are decoded with other characters instead
        pairs = [(name, value) for (name, _), (_, value) in zip(pairs_of(without_surrogates(body)), pairs, strict=True)]
    if len({name for name, _ in pairs}) < len(pairs):
        with pytest.raises(ValueError, match="contains a duplicate field: `") as error:
            member_spans(body)
        counts = Counter(name for name, _ in pairs)
        assert str(error.value) in {str(duplicate_field(name)) for name, count in counts.items() if count > 1}
        return
    spans = member_spans(body)
    members = [(name, json.loads(body[start:end], object_pairs_hook=list)) for name, (start, end) in spans.items()]

    assert members == pairs
