"""Records of calls for tests."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.telemetry import CallRecord

ENDED_AT = 1_800_000_000.25


def record(**fields: Any) -> CallRecord:
    """A call that `openai` answered, behind a reverse proxy."""
    call = CallRecord(
        request_id="337e9a60e42d-8",
        method="POST",
        route="/v1/chat/completions",
        api="openai",
        key="alice",
        peer="10.0.0.1",
        forwarded_for=b"203.0.113.7",
        began=5.0,
        model="gpt-4o",
        is_known=True,
        is_stream=True,
        status=200,
        provider="openai",
        upstream_request_id="req_51f0",
        attempts=1,
        first_byte=0.412,
        seconds=3.25,
        input_tokens=12,
        output_tokens=345,
        bytes_in=512,
        bytes_out=20480,
    )
    return msgspec.structs.replace(call, **fields)
