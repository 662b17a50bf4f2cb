"""Unexpected exceptions are described without their text."""

from __future__ import annotations

from proxy.errors import UpstreamError, describe_bug

SECRET = "sk-canary-0123456789"


def raised() -> ValueError:
    try:
        raise ValueError(SECRET)
    except ValueError as bug:
        return bug


def test_describe_bug_returns_the_class_and_the_stack() -> None:
    first, *stack = describe_bug(raised()).splitlines()
    assert first == "ValueError"
    assert "in raised" in stack[0]


def test_the_text_of_an_unexpected_exception_is_never_shown() -> None:
    assert SECRET not in describe_bug(raised())
    assert (
        str(UpstreamError.from_bug(raised()))
        == "internal_error: internal error while processing its response (ValueError)"
    )
