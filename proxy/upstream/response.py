"""The response of a provider to a call: its headers, and its body as it arrives, without our credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter

import aiohttp

from proxy.asgi import Header
from proxy.config import Provider
from proxy.cooperative import NEXT_TURN
from proxy.errors import UpstreamError
from proxy.upstream.credentials import keys_of, secrets_of
from proxy.upstream.errors import seconds_to_wait
from proxy.upstream.exchange import Incoming
from proxy.upstream.limit_resets import seconds_until_reset
from proxy.upstream.masking import Mask
from proxy.upstream.transport import Gunzip, content_coding, is_gzip

FAILURES = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp and sockets raise."""
_RATE_LIMITED = 429
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
_MAX_REQUEST_ID = 200  # characters


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
        coding = self._headers.get(b"content-encoding")
        self.coding = content_coding(coding.decode("latin-1")) if coding else ""
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
        except FAILURES as error:
            raise _interrupted(error) from error
        return self._masked(self._mask, data) if self._mask and data else data

    async def read(self) -> bytes:
        """The next bytes, at most 64 KiB of a compressed body; b"" at the end. Raises UpstreamError."""
        try:
            while data := await (self._incoming.read() if self._gunzip is None else self._decompressed(self._gunzip)):
                if passed := self._masked(self._mask, data) if self._mask else data:
                    return passed
        except (*FAILURES, UpstreamError) as error:
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
        except FAILURES as error:
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
        """Seconds to wait from `Retry-After-Ms`, `Retry-After` or the reset of a rate limit, None without a valid one.

        `now` is Unix seconds.
        """
        if self._wait is not None:
            return self._wait
        milliseconds = self._headers.get(b"retry-after-ms", b"")
        if milliseconds.isdigit():
            return int(milliseconds[:12]) / 1000
        sent = [value.decode("latin-1") for name, value in self.raw_headers if name == b"retry-after"]
        if (seconds := seconds_to_wait(sent, now)) is not None or self.status != _RATE_LIMITED:
            return seconds
        return seconds_until_reset(self.raw_headers, now)

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
