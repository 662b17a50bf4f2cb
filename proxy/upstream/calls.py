"""Send calls to providers over aiohttp. Failures of aiohttp and of the network become `UpstreamError`.

Calls use aiohttp, one session per provider, because httpx 0.28 leaks a connection slot when a request is canceled
while connecting, and needs more than ten times the CPU per call.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import Protocol
from urllib.parse import unquote_plus

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy import __version__
from proxy.asgi import Header
from proxy.clock import Clock
from proxy.config import Provider, Target
from proxy.cooperative import NEXT_TURN
from proxy.errors import UpstreamError
from proxy.upstream.connection import Connections
from proxy.upstream.credentials import auth_headers, auth_query, keys_of, kind_headers, secrets_of, sent_secrets
from proxy.upstream.errors import seconds_to_wait
from proxy.upstream.exchange import Incoming
from proxy.upstream.key_pool import KeyPool, Refusal, refusal_of, send_with_keys
from proxy.upstream.logins import send_signed
from proxy.upstream.masking import Mask, mask_of
from proxy.upstream.transport import Gunzip, is_gzip

_NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
_OWN_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors of sockets that say nothing about the provider: callers with many connections can cause them."""
_FAILURES = (aiohttp.ClientError, OSError, ValueError)
_LIST_HEADERS = ("openai-beta", "anthropic-beta", "tracestate", "baggage")
"""Headers whose values are lists, to which the operator and the caller can both contribute."""
_RETRY_AFTER = frozenset({b"retry-after", b"retry-after-ms"})
_REQUEST_ID_HEADERS = (
    b"x-request-id",  # OpenAI, OpenRouter, Groq, Mistral, vLLM and most others
    b"request-id",  # Anthropic
    b"x-amzn-requestid",  # Amazon Bedrock
    b"apim-request-id",  # Azure OpenAI
    b"x-ms-request-id",  # Azure AI
    b"x-goog-request-id",  # Google
    b"mistral-correlation-id",  # Mistral
    b"x-debug-trace-id",  # Cohere
    b"nvcf-reqid",  # NVIDIA
    b"x-ds-trace-id",  # DeepSeek
)
"""The headers in which providers send their id of a request, the most specific of a provider first."""
_OTHER_REQUEST_ID = re.compile(rb"(?:.*[-_])?(?:request|req|trace|log|correlation|generation)[-_]?id")
"""Headers of further providers: `x-oneapi-request-id`, `x-tt-logid`, `x-siliconcloud-trace-id` ..."""
_EDGE_REQUEST_ID = b"cf-ray"
"""The id of Cloudflare, for providers behind it that send none of their own."""
_COMPRESSIONS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_MAX_REQUEST_ID = 200  # characters


class Logins(Protocol):
    """Credentials of providers that change: API keys, and logins that grant tokens instead."""

    def keys_of(self, provider: Provider) -> KeyPool:
        """The API keys of a provider."""
        ...

    async def sign(self, provider: Provider) -> Mapping[str, str]:
        """The header with a valid token. Raises UpstreamError."""
        ...

    def forget_token(self, provider: Provider, signed: Mapping[str, str]) -> None:
        """Discard the token in this header: the provider rejected it."""
        ...


class UpstreamResponse:
    """A response whose headers have arrived and whose body can be read. It must be closed."""

    __slots__ = ("_gunzip", "_headers", "_held", "_incoming", "_mask", "_pieces", "_provider", "_wait", "api_key",
                 "coding", "content_type", "raw_headers", "status")  # fmt: skip

    def __init__(self, incoming: Incoming, provider: Provider, mask: Mask | None = None) -> None:
        """`mask`: of the credentials that were sent. Headers with one are removed; in the body they are masked."""
        self.status = incoming.status
        self.raw_headers: Sequence[Header] = incoming.raw_headers
        """Names in lower case."""
        if mask and mask.shows(b"\n".join([value for _, value in self.raw_headers])):
            self.raw_headers = [header for header in self.raw_headers if mask.masked(header[1]) == header[1]]
        self._mask = mask
        self._held = b""
        """The end of what was read, if the next bytes can make a credential of it."""
        self._headers = dict(reversed(self.raw_headers))  # of equal names the first counts
        self.content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self.coding = _coding(self._headers[b"content-encoding"]) if b"content-encoding" in self._headers else ""
        """The content-encoding in lower case, "" if the body is not compressed."""
        self._wait: float | None = None
        self.api_key = ""
        """The API key of several with which the request was sent; "" if there is only one."""
        self._provider = provider
        self._incoming = incoming
        self._gunzip = Gunzip() if self.coding else None
        self._pieces: Iterator[bytes] = iter(())

    @property
    def is_inflated(self) -> bool:
        """Whether the body was decompressed to so many times its size that it is not worth buffering."""
        return self._gunzip is not None and self._gunzip.is_inflated

    @property
    def length(self) -> int | None:
        """Bytes of the body, None if unknown."""
        return None if self._gunzip else self._sent_length

    @property
    def _sent_length(self) -> int | None:
        length = self._headers.get(b"content-length", b"")
        return int(length) if length.isdigit() else None

    @property
    def ends_by_closing(self) -> bool:
        """Whether the end of the body is marked only by closing the connection."""
        return self._sent_length is None and b"chunked" not in self._headers.get(b"transfer-encoding", b"").lower()

    @property
    def is_over(self) -> bool:
        """Whether the body has ended. Does not wait."""
        return self._gunzip is None and not self._held and self._incoming.is_over

    def read_nowait(self) -> bytes:
        """Bytes that have already arrived, b"" if none. Raises UpstreamError."""
        if self._gunzip:
            return b""
        try:
            data = self._incoming.read_nowait()
        except _FAILURES as error:
            raise _interrupted(error) from error
        return self._masked(self._mask, data) if self._mask and data else data

    async def read(self) -> bytes:
        """The next bytes, at most 64 KiB of a compressed body; b"" at the end. Raises UpstreamError."""
        try:
            while data := await (self._incoming.read() if self._gunzip is None else self._decompressed(self._gunzip)):
                if passed := self._masked(self._mask, data) if self._mask else data:
                    return passed
        except (*_FAILURES, UpstreamError) as error:
            raise _interrupted(error) from error
        held, self._held = self._held, b""
        return held

    def _masked(self, mask: Mask, data: bytes) -> bytes:
        """Return the bytes that can be passed on, b"" if they may be the beginning of a credential."""
        passed, self._held = mask.split(self._held + data)
        return passed

    async def read_raw(self, body: bytearray, limit: int) -> None:
        """Add the body, as it was sent, to `body`, up to the first chunk beyond `limit` bytes. Raises UpstreamError."""
        try:
            while len(body) <= limit and (chunk := await self._incoming.read()):
                body += chunk
        except _FAILURES as error:
            raise _interrupted(error) from error

    async def _decompressed(self, gunzip: Gunzip) -> bytes:
        """The next decompressed bytes: some providers ignore `Accept-Encoding: identity` and send gzip."""
        while True:
            for plain in self._pieces:
                await NEXT_TURN  # a short body can have very many pieces, also empty ones
                if plain:
                    return plain
            compressed = await self._incoming.read()
            if not compressed:
                break
            if not gunzip.has_begun and not is_gzip(compressed):
                self._gunzip = None  # the body is not compressed, whatever its header says
                return compressed
            self._pieces = gunzip.chunks(compressed)
        if gunzip.has_begun and not gunzip.complete:
            raise ValueError("truncated gzip body")
        return b""

    def retry_after(self, now: float) -> float | None:
        """Seconds to wait from `Retry-After-Ms` or `Retry-After`, None without a valid one. `now` is Unix seconds."""
        if self._wait is not None:
            return self._wait
        milliseconds = self._headers.get(b"retry-after-ms", b"")
        if milliseconds.isdigit():
            return int(milliseconds[:12]) / 1000
        return seconds_to_wait([v.decode("latin-1") for name, v in self.raw_headers if name == b"retry-after"], now)

    def replace_retry_after(self, seconds: float) -> None:
        """Replace what the provider sent for one API key by the seconds until any of them can be used."""
        self._wait = seconds
        self.raw_headers = tuple(header for header in self.raw_headers if header[0] not in _RETRY_AFTER)

    @property
    def request_id(self) -> str:
        """The provider's id of the request, for its support; "" if there is none."""
        value = _request_id(self.raw_headers)
        if not value:
            return ""
        is_plain = len(value) <= _MAX_REQUEST_ID and value.isascii() and value.isprintable()
        return value if is_plain else ""

    @property
    def secrets(self) -> Sequence[str]:
        """Configured secrets that were sent. Messages must not contain them."""
        return secrets_of(self._provider)

    @property
    def credentials(self) -> Sequence[str]:
        """The API key and the tokens that were sent."""
        return tuple(self._credentials())

    def _credentials(self) -> Iterator[str]:
        yield from keys_of(self._provider)
        for name in ("Authorization", "X-Auth-Token"):
            # The token of a login is available only here.
            if sent := self._incoming.sent_headers.get(name):
                yield sent.rpartition(" ")[2]

    def close(self) -> None:
        """Discard the rest of the body. Closes the connection if the body was not read completely."""
        self._incoming.close()


class _Requests:
    """The URLs and headers of the requests with one API key."""

    def __init__(self, provider: Provider, target: Target, key: str, egress_headers: Mapping[str, str]) -> None:
        """`key`: "" for none."""
        self._target = target
        self._query = auth_query(target.auth, key)
        self._secrets = tuple(sent_secrets(provider, target.auth, key))
        self._mask = mask_of(self._secrets)
        self._urls: dict[str, URL] = {}
        operator_headers = {name: value.get_secret_value() for name, value in provider.headers.items()}
        self._own_headers: CIMultiDict[str] = CIMultiDict(
            {
                "Accept-Encoding": "identity",
                **auth_headers(target.auth, key),
            }
        )
        self._own_headers.update(operator_headers)
        if target.base_url.startswith("http://"):
            # Plain HTTP uses no CONNECT, so the request itself must authenticate at the egress proxy.
            self._own_headers.update(egress_headers)
        self._defaults = CIMultiDict(
            {"Accept": "*/*", "User-Agent": f"models-proxy/{__version__}", **kind_headers(provider)}
        )
        self._defaults.update(self._own_headers)
        self._own_lists = {name: self._own_headers[name] for name in _LIST_HEADERS if name in self._own_headers}

    def mask(self, signed: Mapping[str, str]) -> Mask | None:
        """The mask of what is sent, with the header of a login or without one."""
        if not signed:
            return self._mask
        return mask_of((*self._secrets, *(value.rpartition(" ")[2] for value in signed.values())))

    def url(self, path: str) -> URL:
        if path not in self._urls:
            url = URL(self._target.url(path), encoded=True)
            self._urls[path] = url.with_query(self._query) if self._query else url
        return self._urls[path]

    def url_with(self, path: str, query: Sequence[tuple[str, str]]) -> URL:
        return URL(self._target.url(path), encoded=True).with_query([*self._query.items(), *query])

    def headers(self, caller_headers: Mapping[str, str]) -> CIMultiDict[str]:
        """Defaults of the provider's kind, then the caller's headers, then the proxy's own, which take precedence.

        `caller_headers` have lower-case names.
        """
        headers = self._defaults.copy()
        if caller_headers:
            headers.update(caller_headers)
            headers.update(self._own_headers)
            for name in self._own_lists.keys() & caller_headers.keys():
                headers[name] = _united(self._own_lists[name], caller_headers[name])
        return headers


class Endpoint:
    """One provider's connections, API keys, URLs and headers."""

    def __init__(
        self, provider: Provider, target: Target, logins: Logins, clock: Clock, before: Endpoint | None = None
    ) -> None:
        """`before`: that of an earlier configuration, whose connections are reused if they lead to the same host."""
        self.provider = provider
        self._target = target
        self._logins = logins
        self._clock = clock
        self._has_login = bool(provider.oauth or provider.iam)
        self._is_shared = before is not None and before.connections.fit(provider)
        self.connections: Connections = (
            before.connections if before and self._is_shared else Connections(provider, clock)
        )
        self.keys = logins.keys_of(provider)
        self._requests: dict[str, _Requests] = {}
        """By API key. Contains a key that was replaced in its file until the next such change."""
        self._first = self._requests_with(self.keys.first())

    def send(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        content_type: str,
        request_id: str,
        model: str,
        caller: str,
        query: str = "",
    ) -> Awaitable[UpstreamResponse]:
        """POST to the path of a call at the target. Raises UpstreamError.

        `headers` and `query` (percent-encoded) are the caller's. `model` (the provider's id) and `caller` (the name of
        the caller's key): for which an API key is selected.

        Kinds: `no_connection` and `login` (nothing was sent), `no_response` (the provider may have processed the call).
        """

        def post(requests: _Requests, signed: Mapping[str, str]) -> Awaitable[UpstreamResponse]:
            all_headers = requests.headers(headers)
            all_headers["X-Request-Id"] = request_id
            all_headers["Content-Type"] = content_type
            if signed:
                all_headers.update(signed)
            url = _with_query(requests.url(path), query) if query else requests.url(path)
            return self._response_to(self.connections.send("POST", url, all_headers, body), requests.mask(signed))

        return self._with_credential(post, model, caller, request_id)

    def request(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        *,
        headers: Mapping[str, str],
        request_id: str,
        model: str,
        caller: str,
    ) -> Awaitable[UpstreamResponse]:
        """Send a request without a body to a path below `/v1`. Otherwise like `send`."""

        def send(requests: _Requests, signed: Mapping[str, str]) -> Awaitable[UpstreamResponse]:
            all_headers = requests.headers(headers)
            all_headers["X-Request-Id"] = request_id
            all_headers.update(signed)
            sending = self.connections.send(method, requests.url_with(path, query), all_headers)
            return self._response_to(sending, requests.mask(signed))

        return self._with_credential(send, model, caller, request_id)

    def take_over(self) -> None:
        """Use the connections of the earlier endpoint from now on, if they fit."""
        if self._is_shared:
            self.connections.share()

    async def close(self) -> None:
        await self.connections.close()

    def _with_credential(
        self,
        send: Callable[[_Requests, Mapping[str, str]], Awaitable[UpstreamResponse]],
        model: str,
        caller: str,
        request_id: str,
    ) -> Awaitable[UpstreamResponse]:
        """Send a request with an API key, or with the header of a login."""
        if not self.keys.is_fixed:
            return self._with_a_key(send, model, caller, request_id)
        if not self._has_login:
            return send(self._first, {})
        forget = partial(self._logins.forget_token, self.provider)
        return send_signed(self._sign, forget, partial(send, self._first), _rejected)

    async def _with_a_key(
        self,
        send: Callable[[_Requests, Mapping[str, str]], Awaitable[UpstreamResponse]],
        model: str,
        caller: str,
        request_id: str,
    ) -> UpstreamResponse:
        async def send_with(key: str) -> UpstreamResponse:
            response = await send(self._requests_with(key), {})
            response.api_key = key
            return response

        label = f"call {request_id}: provider {self.provider.name}"
        response = await send_with_keys(
            self.keys, send_with, self._refusal_of, _close, model=model, label=label, caller=caller
        )
        if (seconds := self.keys.told_wait(model, caller)) is not None:
            response.replace_retry_after(seconds)
        return response

    def _refusal_of(self, response: UpstreamResponse) -> Refusal | None:
        return refusal_of(response.status, lambda: response.retry_after(self._clock.time()))

    def _requests_with(self, key: str) -> _Requests:
        if key not in self._requests:
            if len(self._requests) > len(self.provider.all_api_keys):
                self._requests.clear()
            egress_headers = self.connections.egress_headers
            self._requests[key] = _Requests(self.provider, self._target, key, egress_headers)
        return self._requests[key]

    async def _sign(self) -> Mapping[str, str]:
        try:
            return await self._logins.sign(self.provider)
        except UpstreamError as error:
            raise UpstreamError("login", error.reason, retryable=error.retryable) from error

    async def _response_to(self, sending: Awaitable[Incoming], mask: Mask | None) -> UpstreamResponse:
        try:
            return UpstreamResponse(await sending, self.provider, mask)
        except _NO_CONNECTION as error:
            raise _no_connection(error) from error
        except _FAILURES as error:
            raise UpstreamError("no_response", f"no response ({type(error).__name__})") from error


def _with_query(url: URL, query: str) -> URL:
    """Add the caller's query parameters (percent-encoded), except those that the URL has already."""
    own = {name.lower() for name in url.query}
    added = [part for part in query.split("&") if unquote_plus(part.partition("=")[0]).lower() not in own]
    return URL(str(url) + ("&" if own else "?") + "&".join(added), encoded=True) if added else url


def _united(*lists: str) -> str:
    """The members of comma-separated lists, without duplicates."""
    return ", ".join(dict.fromkeys(member for each in lists for part in each.split(",") if (member := part.strip())))


def _no_connection(error: Exception) -> UpstreamError:
    cause = getattr(error, "os_error", None)
    if cause is not None and cause.errno in _OWN_LIMITS:
        return UpstreamError("no_descriptor", f"not connected ({errno.errorcode[cause.errno]} on the proxy's host)")
    return UpstreamError("no_connection", f"connection failed ({type(error).__name__})")


async def _close(response: UpstreamResponse) -> None:
    response.close()


async def _rejected(response: UpstreamResponse) -> bool:
    if response.status == 401:
        response.close()
    return response.status == 401


def _coding(value: bytes) -> str:
    """The content-encoding in lower case; "" for none, and for a name of anything else, such as a character set."""
    coding = value.decode("latin-1").strip().lower()
    return "" if _COMPRESSIONS.isdisjoint(re.split(r"[\s,]+", coding)) else coding


def _request_id(raw_headers: Iterable[tuple[bytes, bytes]]) -> str:
    ranked = [(rank, value) for name, value in raw_headers if (rank := _rank_of_request_id(name)) and value]
    return min(ranked, key=itemgetter(0))[1].decode("latin-1") if ranked else ""


@lru_cache(maxsize=1024)
def _rank_of_request_id(name: bytes) -> int:
    """Return the precedence of a header as the provider's id of a request, 0 if it is none.

    Cached, because providers send the same headers with every response.
    """
    if name in _REQUEST_ID_HEADERS:
        return 1 + _REQUEST_ID_HEADERS.index(name)
    if name == _EDGE_REQUEST_ID:
        return len(_REQUEST_ID_HEADERS) + 2
    return len(_REQUEST_ID_HEADERS) + 1 if _OTHER_REQUEST_ID.fullmatch(name) else 0


def _interrupted(error: Exception) -> UpstreamError:
    return UpstreamError("interrupted", f"closed the connection mid-response ({type(error).__name__})")
