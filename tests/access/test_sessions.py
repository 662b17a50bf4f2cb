"""Sealed sessions: what a value must be to open, and how long it does."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest

from proxy.access.sessions import (
    MAX_CLOCK_DIFFERENCE,
    MAX_ENDED,
    MAX_SEALED,
    SECRET_BYTES,
    SESSION_SECONDS,
    Session,
    Sessions,
)

NOW = 1_800_000_000.0
DIGEST = b"d" * 32


@dataclass
class Clock:
    now: float = NOW

    def time(self) -> float:
        return self.now


def sessions_of(clock: Clock, secret: bytes = b"") -> Sessions:
    return Sessions(clock.time, secret)


def begun(sessions: Sessions, expires: float = float("inf")) -> tuple[Session, bytes]:
    """A session, and its cookie."""
    session = sessions.begin(DIGEST, "admin", expires)
    return session, sessions.cookie_of(session).value.encode()


def test_a_session_opens_until_it_expires() -> None:
    clock = Clock()
    sessions = sessions_of(clock)
    session, cookie = begun(sessions)

    assert (session.name, session.expires) == ("admin", NOW + SESSION_SECONDS)
    assert sessions.cookie_of(session).seconds == SESSION_SECONDS
    clock.now = NOW + SESSION_SECONDS - 1
    assert sessions.open(cookie) == session
    clock.now = NOW + SESSION_SECONDS
    assert sessions.open(cookie) is None


def test_a_session_ends_with_its_key() -> None:
    session, _ = begun(sessions_of(Clock()), NOW + 60)

    assert session.expires == NOW + 60


def test_a_session_contains_neither_the_key_nor_its_digest() -> None:
    _, cookie = begun(sessions_of(Clock()))

    assert DIGEST not in base64.urlsafe_b64decode(cookie + b"=" * (-len(cookie) % 4))


def test_two_sessions_of_a_key_differ() -> None:
    sessions = sessions_of(Clock())

    assert begun(sessions)[0].id != begun(sessions)[0].id


@pytest.mark.parametrize("position", range(0, 160, 7))
def test_a_changed_session_does_not_open(position: int) -> None:
    sessions = sessions_of(Clock())
    _, cookie = begun(sessions)
    position %= len(cookie) - 1  # the last character contains bits that are not used
    changed = cookie[:position] + (b"A" if cookie[position : position + 1] != b"A" else b"B") + cookie[position + 1 :]

    assert sessions.open(changed) is None


@pytest.mark.parametrize("value", [b"", b"x", b"\xff", b"A" * 43, b"A" * MAX_SEALED, b"A" * 100_000, b"=====", b"a b"])
def test_other_text_does_not_open(value: bytes) -> None:
    assert sessions_of(Clock()).open(value) is None


def test_a_session_of_another_deployment_does_not_open() -> None:
    assert sessions_of(Clock()).open(begun(sessions_of(Clock()))[1]) is None


def test_a_state_of_a_login_is_no_session() -> None:
    sessions = sessions_of(Clock())
    value = sessions.seal_state(b"login", b"payload").encode()

    assert sessions.open_state(b"login", value) == b"payload"
    assert sessions.open_state(b"another", value) is None
    assert sessions.open(value) is None
    assert sessions.open(sessions.seal_state(b"session", b"payload").encode()) is None


def test_a_session_proves_the_login_with_which_it_was_begun() -> None:
    sessions = sessions_of(Clock())
    session, _ = begun(sessions)

    assert sessions.proves(session, DIGEST)
    assert not sessions.proves(session, b"e" * 32)
    assert not sessions_of(Clock()).proves(session, DIGEST)


def test_an_ended_session_does_not_open() -> None:
    sessions = sessions_of(Clock())
    (session, cookie), (_, other) = begun(sessions), begun(sessions)
    sessions.end(session.id, session.expires)

    assert sessions.open(cookie) is None
    assert sessions.open(other) is not None


def test_ended_sessions_are_bounded() -> None:
    clock = Clock()
    sessions = sessions_of(clock)
    first, cookie = begun(sessions)
    sessions.end(first.id, first.expires)
    for number in range(MAX_ENDED - 1):
        sessions.end(number.to_bytes(16), NOW + 60)

    assert sessions.open(cookie) is None
    sessions.end(b"x" * 16, NOW + 60)
    assert len(sessions.ended) == MAX_ENDED
    clock.now += SESSION_SECONDS
    sessions.end(b"y" * 16, clock.now + 60)
    assert sessions.ended == {b"y" * 16: clock.now + 60}


def test_sessions_are_not_recorded_as_ended_when_they_have_expired_or_never_will() -> None:
    sessions = sessions_of(Clock())
    sessions.end(b"x" * 16, NOW)
    sessions.end(b"y" * 16, NOW + 2 * SESSION_SECONDS)

    assert sessions.ended == {}


def test_a_session_of_a_replica_whose_clock_is_ahead_can_be_ended() -> None:
    clock = Clock()
    sessions = sessions_of(clock)
    clock.now += MAX_CLOCK_DIFFERENCE
    session, cookie = begun(sessions)
    clock.now -= MAX_CLOCK_DIFFERENCE
    sessions.end(session.id, session.expires)

    assert sessions.open(cookie) is None


def test_an_adopted_secret_seals_and_the_one_before_still_opens() -> None:
    clock = Clock()
    shared = b"s" * SECRET_BYTES
    sessions, other = sessions_of(clock), sessions_of(clock, shared)
    session, cookie = begun(sessions)
    token = sessions.csrf_token(session.id)
    sessions.adopt(shared)

    assert sessions.open(cookie) == session
    assert sessions.proves(session, DIGEST)
    assert sessions.is_csrf_token(token, session.id)
    of_other, cookie_of_other = begun(other)
    assert sessions.open(cookie_of_other) == of_other
    assert other.open(begun(sessions)[1]) is not None
    assert sessions.secret == shared


def test_what_is_no_secret_is_not_adopted() -> None:
    sessions = sessions_of(Clock())
    before = sessions.secret
    sessions.adopt(b"short")

    assert sessions.secret == before


def test_few_earlier_secrets_open_sessions() -> None:
    sessions = sessions_of(Clock())
    _, cookie = begun(sessions)
    for number in range(3):
        assert sessions.open(cookie) is not None
        sessions.adopt(bytes([number]) * SECRET_BYTES)

    assert sessions.open(cookie) is None


def test_csrf_tokens_are_bound_to_a_session() -> None:
    sessions = sessions_of(Clock())
    token = sessions.csrf_token(b"one")

    assert sessions.is_csrf_token(token, b"one")
    assert not sessions.is_csrf_token(token, b"two")
    assert not sessions.is_csrf_token("", b"one")
    assert not sessions.is_csrf_token("\udc80é" * 32, b"one")
    assert not sessions_of(Clock()).is_csrf_token(token, b"one")
