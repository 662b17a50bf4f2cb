"""Bugs in the proxy: described without the texts of exceptions, which can contain secrets."""

from __future__ import annotations

import traceback

from proxy.errors.api_error import ApiError


class InternalError(ApiError):
    """A bug in the proxy. The message is constant; details are logged."""

    def __init__(self) -> None:
        super().__init__("Internal error in the proxy; search its log for the x-request-id of this response.")


def describe_bug(bug: BaseException) -> str:
    """Return the class and the stack of an unexpected exception, for the log.

    Its text is omitted: it can contain a header, a body or a key.
    """
    stack = "".join(traceback.format_tb(bug.__traceback__))
    return f"{type(bug).__name__}\n{stack}"


def drop_tracebacks(error: BaseException | None) -> None:
    """Let an exception and its causes be freed: the frames of their tracebacks reference them.

    A flood of failing calls would keep the garbage collector busy, which stops the event loop.
    """
    while error:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
