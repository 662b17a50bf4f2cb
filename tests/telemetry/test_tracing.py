"""Spans of events that sockets do not show, and the encoding of every kind of value."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from proxy.telemetry import Telemetry
from proxy.telemetry.events import RefusedRequest
from proxy.telemetry.otlp import SERVER, attribute, export_request, span
from proxy.telemetry.tracing import Tracing


def decoded(*spans: bytes) -> list[Any]:
    message = ExportTraceServiceRequest.FromString(export_request({"service.name": "models-proxy"}, "1.2", spans))
    (of_resource,) = message.resource_spans
    (of_scope,) = of_resource.scope_spans
    assert [(each.key, each.value.string_value) for each in of_resource.resource.attributes] == [
        ("service.name", "models-proxy")
    ]
    assert (of_scope.scope.name, of_scope.scope.version) == ("models-proxy", "1.2")
    return [*of_scope.spans]


def attributes_of(received: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in received.attributes}


@pytest.mark.parametrize(
    "value", ["", "text", "x" * 300, "\u202e\U0001f600", 0, 1, 127, 128, 2**40, 2**63 - 1, -1, 0.0, 0.25, True, False]
)
def test_every_value_is_decoded_as_it_was(value: str | int | float | bool) -> None:
    (received,) = decoded(span(b"t" * 16, b"s" * 8, b"", "name", SERVER, (1, 2), attribute("name", value)))

    assert attributes_of(received) == {"name": value}


def test_long_texts_are_cut_and_invalid_ones_replaced() -> None:
    (received,) = decoded(span(b"t" * 16, b"s" * 8, b"", "n" * 5000, SERVER, (1, 2), attribute("name", "\ud800x")))

    assert (len(received.name), attributes_of(received)) == (1000, {"name": "?x"})


def test_a_span_has_ids_times_and_a_status() -> None:
    ids = (b"t" * 16, b"s" * 8, b"p" * 8)
    ok, failed = decoded(
        span(*ids, "name", SERVER, (1_800_000_000_000_000_001, 1_800_000_000_000_000_002), b""),
        span(*ids, "name", SERVER, (1, 2), b"", is_error=True),
    )

    assert (ok.trace_id, ok.span_id, ok.parent_span_id, ok.kind) == (*ids, SERVER)
    assert (ok.start_time_unix_nano, ok.end_time_unix_nano) == (1_800_000_000_000_000_001, 1_800_000_000_000_000_002)
    assert (ok.status.code, failed.status.code) == (0, 2)


@pytest.mark.parametrize(("sample", "number"), [(0.0, 0), (0.5, 500), (1.0, 1000)])
def test_the_share_of_traces_is_as_configured(sample: float, number: int) -> None:
    spans: list[bytes] = []
    telemetry = Telemetry(lambda: 0.0)
    telemetry.add(Tracing(sample, lambda name: "", spans.append, lambda: 0.0, lambda: 10**18))
    for _ in range(1000):
        telemetry.request_ended(RefusedRequest(400, "bad_request", b"id", "127.0.0.1", 0.0))
    telemetry.flush()

    assert abs(len(spans) - number) <= (150 if 0 < number < 1000 else 0)


def test_a_request_that_the_protocol_refused_has_a_span() -> None:
    spans: list[bytes] = []
    telemetry = Telemetry(lambda: 5.0)
    telemetry.add(Tracing(1.0, lambda name: "", spans.append, lambda: 5.0, lambda: 1_800_000_000_000_000_000))
    telemetry.request_ended(RefusedRequest(400, "bad_request", b"id", "127.0.0.1", 3.0))
    telemetry.flush()
    (received,) = decoded(*spans)

    assert (received.name, received.start_time_unix_nano) == ("_OTHER", 1_799_999_998_000_000_000)
    assert attributes_of(received) == {
        "http.request.method": "_OTHER",
        "http.response.status_code": 400,
        "models_proxy.request_id": "id",
        "error.type": "bad_request",
    }
