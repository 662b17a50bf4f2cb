"""What the server adds to the headers of all responses, also to those that handlers send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from proxy.asgi import AddHeaders, Header, Message, Send

_PAGE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def with_vary(names: Sequence[str], add: AddHeaders | None) -> AddHeaders | None:
    """Add the names of headers to `Vary`, where responses have it, besides what `add` adds."""
    if not names:
        return add
    further = ", ".join(names).title().encode()

    def add_names(request: Iterable[Header], response: Iterable[Header]) -> list[Header]:
        headers = [(name, b"%b, %b" % (value, further) if name == b"vary" else value) for name, value in response]
        return add(request, headers) if add else headers

    return add_names


def with_generation(generation: str, add: AddHeaders | None) -> AddHeaders:
    """Add the generation of the configuration, besides what `add` adds: for administrators."""
    header = (b"x-config-generation", generation.encode())

    def add_generation(request: Iterable[Header], response: Iterable[Header]) -> list[Header]:
        headers = [*response, header]
        return add(request, headers) if add else headers

    return add_generation


def with_page_headers(add: AddHeaders | None) -> AddHeaders:
    """Add the security headers for pages of administrators, in addition to those of `add`.

    `Referrer-Policy` is not `no-referrer`, with which browsers send forms with `Origin: null`.
    """

    def add_page_headers(request: Iterable[Header], response: Iterable[Header]) -> list[Header]:
        headers = [*response]
        # Files whose names change with their content are the same for everyone.
        if not any(name == b"cache-control" and value.startswith(b"public") for name, value in headers):
            headers = [header for header in headers if header[0] != b"cache-control"]
            headers.append((b"cache-control", b"no-store"))
        headers += _PAGE_HEADERS
        return add(request, headers) if add else headers

    return add_page_headers


def sending(send: Send, add: AddHeaders, request: Iterable[Header]) -> Send:
    """Return a `send` that adds the headers to the start of the response."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": add(request, message["headers"])}
        await send(message)

    return send_with_headers
