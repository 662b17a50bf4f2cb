"""Unexpected exceptions are described without their text."""

from __future__ import annotations

from proxy.errors import UpstreamError, describe_bug

SECRET = "sk-canary-0123456789"


def raised() -> ValueError:
    try:
        raise ValueError(SECRET)
    except ValueError as bug:
        return bug


def test_a_bug_is_described_by_its_class_and_its_stack() -> None:
    first, *stack = describe_bug(raised()).splitlines()
    assert first == "ValueError"
    assert "in raised" in stack[0]


def test_the_text_of_a_bug_is_never_shown() -> None:
    assert SECRET not in describe_bug(raised())
    assert (
        str(UpstreamError.from_bug(raised()))
        == "internal_error: internal error while processing its response (ValueError)"
    )
