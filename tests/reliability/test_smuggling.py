"""Bytes that two HTTP parsers could divide into different requests are rejected; others are answered in order."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.fakes import FakeClock, FakeFetch
from tests.reliability.smuggling import FORM, FORMS, VICTIM, Form, victim
from tests.reliability.targets import received_from, responses, target

SPLIT = [
    "a call in chunks",
    "a chunk extension",
    "an absolute URL",
    "an empty line before the request",
    "an announced trailer",
    "a credential in a trailer",
    "a trailer and a request",
    "Upgrade to h2c with a body in chunks",
    "gzip, chunked",
    "two lines, identity and chunked",
    "Content-Length and chunked",
    "chunked in HTTP/1.0",
    "Connection: close in a trailer",
    "LF after a chunk size",
    "HTTP/2.0",
    "the preface of HTTP/2",
    "an absolute URL of another host",
    "two Hosts",
    "two Expects",
    "Connection names Host",
]

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]


def bytewise(form: Form) -> Sequence[bytes]:
    """One byte per segment; the next request comes with the last byte."""
    return [*(form.raw[at : at + 1] for at in range(len(form.raw) - 1)), form.raw[-1:] + victim()]


def check(form: Form, received: bytes, decided: Sequence[bytes]) -> None:
    """Assert that the bytes were the expected requests, and that each got its own response."""
    answers = responses(received)
    assert b"hidden" not in received
    if form.requests == 0:
        assert [(answer.status, answer.is_last) for answer in answers] == [(400, True)]
        error = json.loads(received.partition(b"\r\n\r\n")[2])["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
        assert error["message"].startswith(("Malformed HTTP request", "Method CONNECT"))
        assert list(decided) in ([], [FORM])  # its head can be valid and its body not
        return
    assert {answer.status for answer in answers} <= {200, 400, 401, 404, 405, 426}
    assert [answer.request_id for answer in answers] == list(decided)
    # The connection is closed, and the victim's request not read, if the body of a form was not read.
    unread = len(answers) == form.requests and answers[-1].is_last
    assert list(decided) == [FORM] * form.requests + ([] if unread else [VICTIM])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
async def test_a_form_is_the_expected_number_of_requests(form: Form, fetch: FakeFetch, clock: FakeClock) -> None:
    async with target(fetch, clock) as (served, decided, _):
        received = await received_from(served, [form.raw + victim()])
        check(form, received, decided)
        decided.clear()
        again = await received_from(served, bytewise(form))
        check(form, again, decided)


@pytest.mark.parametrize("name", SPLIT)
async def test_a_form_is_the_same_requests_for_every_segmentation(
    name: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    (form,) = [form for form in FORMS if form.name == name]
    async with target(fetch, clock) as (served, decided, _):
        for at in range(1, len(form.raw)):
            decided.clear()
            received = await received_from(served, [form.raw[:at], form.raw[at:] + victim()])
            check(form, received, decided)
