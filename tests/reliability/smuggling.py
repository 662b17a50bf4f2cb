"""Request smuggling as data: bytes that two HTTP parsers could divide into different requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

KEY = "sk-fake-alice"
OTHER = "sk-fake-other"
"""The key of the requests that are smuggled in bodies."""
FORM, SMUGGLED, VICTIM = b"form", b"smuggled", b"victim"
"""The request ids of the requests of a form, of those in its bodies, and of the next request on the connection."""

_FIELDS = f"Authorization: Bearer {KEY}\r\nX-Request-Id: form\r\nContent-Type: application/json\r\n".encode()
INNER = f"GET /v1/models HTTP/1.1\r\nHost: proxy\r\nx-api-key: {OTHER}\r\nX-Request-Id: smuggled\r\n\r\n".encode()
"""A request in a body. It would list the models of another key."""
_CALL = msgspec.json.encode({"model": "m", "messages": []})
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_END = b"0\r\n\r\n"


class Form(NamedTuple):
    name: str
    raw: bytes
    requests: int
    """How many requests the bytes are; 0: they are rejected with 400, and the connection is closed."""


def victim(path: str = "/v1/models/m") -> bytes:
    """The next request on the connection, and the last one."""
    fields = f"Host: proxy\r\nAuthorization: Bearer {KEY}\r\nX-Request-Id: victim\r\nConnection: close\r\n"
    return f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode()


def get(extra: bytes = b"", *, line: bytes = b"GET /v1/models HTTP/1.1", host: bytes = b"Host: proxy\r\n") -> bytes:
    return b"%b\r\n%b%b%b\r\n" % (line, host, _FIELDS, extra)


def post(fields: bytes, body: bytes = b"", *, version: bytes = b"1.1", host: bytes = b"Host: proxy\r\n") -> bytes:
    """A call. `fields`: its framing."""
    return get(fields, line=b"POST /v1/chat/completions HTTP/" + version, host=host) + body


def chunk(data: bytes, size: bytes = b"") -> bytes:
    return b"%b\r\n%b\r\n" % (size or b"%x" % len(data), data)


def sized(value: bytes, body: bytes = INNER) -> bytes:
    """A call with this value of Content-Length; `%d` is the length of the body."""
    return post(b"Content-Length:%b\r\n" % value.replace(b"%d", b"%d" % len(body)), body)


def coded(value: bytes, **options: bytes) -> bytes:
    """A call with a chunked body and this value of Transfer-Encoding, which may contain further lines."""
    return post(b"Transfer-Encoding:%b\r\n" % value, chunk(INNER) + _END, **options)


def chunks(body: bytes) -> bytes:
    return post(_CHUNKED, body)


def trailers(fields: bytes) -> bytes:
    return post(_CHUNKED, b"%b0\r\n%b\r\n" % (chunk(_CALL), fields))


def line(request_line: bytes, **options: bytes) -> bytes:
    return get(line=request_line, **options)


def _forms() -> Iterator[Form]:
    for name, raw in _ACCEPTED.items():
        yield Form(name, raw, 1)
    for name, raw in _PIPELINES.items():
        yield Form(name, raw, 2)
    for name, raw in _REJECTED.items():
        yield Form(name, raw, 0)


_H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n"
_WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
_LENGTH = b"Content-Length: %d\r\n" % len(INNER)
_CALL_LENGTH = b"Content-Length: %d\r\n" % len(_CALL)
_LONG = b"%d" % (2**64 + len(INNER))
_LONG_CHUNK = b"%x" % (2**64 + len(INNER))

_ACCEPTED = {
    "a request without a body": get(),
    "HTTP/1.0": line(b"GET /v1/models HTTP/1.0"),
    "HTTP/1.0 without Host": line(b"GET /v1/models HTTP/1.0", host=b""),
    "a call with Content-Length": sized(b" %d"),
    "Content-Length with leading zeros": sized(b" 000%d"),
    "Content-Length after a tab": sized(b"\t%d"),
    "a body without an empty line": sized(b" %d", _CALL),
    "Content-Length 0": sized(b" %d", b""),
    "a call in chunks": coded(b" chunked"),
    "Chunked in capitals": coded(b" CHUNKED"),
    "chunked without a space": coded(b"chunked"),
    "chunked after a tab": coded(b"\tchunked"),
    "chunked and a space": coded(b" chunked "),
    "Transfer-Encoding in mixed case": post(b"tRANSFER-eNCODING: chunked\r\n", chunk(INNER) + _END),
    "names with underscores are other names": post(b"Transfer_Encoding: chunked\r\n" + _LENGTH, INNER),
    "a chunk extension": chunks(chunk(INNER, b"%x;a=b" % len(INNER)) + _END),
    "a quoted chunk extension": chunks(chunk(INNER, b'%x;a="b;c"' % len(INNER)) + _END),
    "an extension of the last chunk": chunks(chunk(INNER) + b"0;a\r\n\r\n"),
    "chunk sizes with leading zeros": chunks(chunk(INNER, b"000%x" % len(INNER)) + b"000\r\n\r\n"),
    "chunk sizes in capitals": chunks(chunk(INNER, b"%X" % len(INNER)) + _END),
    "many chunks": chunks(b"".join(chunk(INNER[at : at + 1]) for at in range(len(INNER))) + _END),
    "GET with a body": get(_LENGTH) + INNER,
    "GET with a body in chunks": get(_CHUNKED) + chunk(INNER) + _END,
    "HEAD": line(b"HEAD /v1/models HTTP/1.1"),
    "HEAD with a body": get(_LENGTH, line=b"HEAD /v1/models HTTP/1.1") + INNER,
    "OPTIONS with a body": get(_LENGTH, line=b"OPTIONS /v1/models HTTP/1.1") + INNER,
    "DELETE with a body": get(_LENGTH, line=b"DELETE /v1/responses/r HTTP/1.1") + INNER,
    "a probe with a body": get(_LENGTH, line=b"GET /livez HTTP/1.1") + INNER,
    "an unknown path with a body": get(_LENGTH, line=b"POST /nowhere HTTP/1.1") + INNER,
    "an empty line before the request": b"\r\n" + get(),
    "several empty lines before the request": b"\r\n\r\n\r\n" + get(),
    "LF before the request": b"\n" + get(),
    "an empty line after a body": sized(b" %d") + b"\r\n",
    "an absolute URL": line(b"GET http://proxy/v1/models HTTP/1.1"),
    "an absolute URL in other letters": line(b"GET HTTP://PROXY/v1/models HTTP/1.1"),
    "an absolute URL with the default port": line(b"GET http://proxy:80/v1/models HTTP/1.1"),
    "an absolute https URL": line(b"GET https://proxy:443/v1/models HTTP/1.1"),
    "an absolute URL without a path": line(b"GET http://proxy HTTP/1.1"),
    "an asterisk with OPTIONS": line(b"OPTIONS * HTTP/1.1"),
    "two slashes are no authority": line(b"GET //elsewhere/v1/models HTTP/1.1"),
    "an empty Host": get(host=b"Host:\r\n"),
    "Host with a port": get(host=b"Host: proxy:8000\r\n"),
    "Host with spaces around it": get(host=b"Host:\t proxy \r\n"),
    "an IPv6 Host": get(host=b"Host: [::1]:8000\r\n"),
    "Host with an underscore": get(host=b"Host: my_proxy.internal\r\n"),
    "Expect: 100-continue": post(b"Expect: 100-continue\r\n" + _CALL_LENGTH, _CALL),
    "Expect: 100-Continue": post(b"Expect: 100-Continue\r\n" + _CALL_LENGTH, _CALL),
    "Expect with a chunked body": post(b"Expect: 100-continue\r\n" + _CHUNKED, chunk(INNER) + _END),
    "Expect without a body": get(b"Expect: 100-continue\r\n"),
    "Expect in HTTP/1.0": post(b"Expect: 100-continue\r\n" + _CALL_LENGTH, _CALL, version=b"1.0"),
    "Upgrade to h2c": get(_H2C),
    "Upgrade to h2c with a body": post(_H2C + _LENGTH, INNER),
    "Upgrade to h2c with a body in chunks": post(_H2C + _CHUNKED, chunk(INNER) + _END),
    "Upgrade to a WebSocket": get(_WEBSOCKET),
    "Upgrade to a WebSocket with a body": post(_WEBSOCKET + _LENGTH, INNER),
    "Upgrade to a WebSocket with a body in chunks": post(_WEBSOCKET + _CHUNKED, chunk(INNER) + _END),
    "a WebSocket on the path of a call": get(_WEBSOCKET, line=b"GET /v1/responses HTTP/1.1"),
    "Upgrade in HTTP/1.0": post(_H2C + _LENGTH, INNER, version=b"1.0"),
    "Connection: close": get(b"Connection: close\r\n"),
    "Connection: close and keep-alive": get(b"Connection: close, keep-alive\r\n"),
    "Connection: keep-alive in HTTP/1.0": get(b"Connection: keep-alive\r\n", line=b"GET /v1/models HTTP/1.0"),
    "Connection names another header": get(b"Connection: X-Request-Id, TE\r\nTE: trailers\r\n"),
    "a trailer": trailers(b"X-Trailer: 1\r\n"),
    "an announced trailer": post(b"Trailer: x-api-key\r\n" + _CHUNKED, chunk(_CALL) + _END),
    "a credential in a trailer": trailers(f"x-api-key: {OTHER}\r\nX-Goog-Api-Key: {OTHER}\r\n".encode()),
    "a request id in a trailer": trailers(b"X-Request-Id: smuggled\r\n"),
    "a value with bytes above 127": get(b"X-Odd: \xff\xfe\r\n"),
    "a value that looks like a line": get(b"X-Odd: GET /v1/models HTTP/1.1\r\n"),
}

_PIPELINES = {
    "two requests": get() * 2,
    "a call and a request": sized(b" %d", _CALL) + get(),
    "a call in chunks and a request": coded(b" chunked") + get(),
    "two calls with Upgrade": post(_H2C + _LENGTH, INNER) * 2,
    "a trailer and a request": trailers(f"x-api-key: {OTHER}\r\n".encode()) + get(),
    "an upgrade in a header and a request": get(_H2C) + get(),
    "an empty line between two requests": get() + b"\r\n" + get(),
}

_REJECTED = {
    # Two lengths
    "Content-Length twice": sized(b" %d\r\nContent-Length: %d"),
    "Content-Length twice with two values": sized(b" 0\r\nContent-Length: %d"),
    "Content-Length twice, one empty": sized(b" %d\r\nContent-Length:"),
    "a list in Content-Length": sized(b" %d, %d"),
    "a list with two values in Content-Length": sized(b" 0, %d"),
    "Content-Length and chunked": coded(b" chunked\r\nContent-Length: 5"),
    "Content-Length 0 and chunked": coded(b" chunked\r\nContent-Length: 0"),
    "chunked after Content-Length": post(b"Content-Length: 5\r\n" + _CHUNKED, chunk(INNER) + _END),
    "Content-Length and identity": post(b"Transfer-Encoding: identity\r\n" + _LENGTH, INNER),
    "Content-Length and an empty Transfer-Encoding": post(b"Transfer-Encoding:\r\n" + _LENGTH, INNER),
    "Content-Length and both with Upgrade": post(_H2C + _LENGTH + _CHUNKED, chunk(INNER) + _END),
    # Lengths that are no numbers
    "Content-Length with a sign": sized(b" +%d"),
    "a negative Content-Length": sized(b" -%d"),
    "a hexadecimal Content-Length": sized(b" 0x5"),
    "Content-Length with an underscore": sized(b" 1_0"),
    "Content-Length with a fraction": sized(b" %d.0"),
    "Content-Length in quotes": sized(b' "%d"'),
    "Content-Length with a parameter": sized(b" %d;a"),
    "Content-Length with two numbers": sized(b" 0 %d"),
    "an empty Content-Length": sized(b""),
    "Content-Length with a vertical tab": sized(b" \x0b%d"),
    "Content-Length with a no-break space": sized(b" %d\xa0"),
    "Content-Length and a space": sized(b" %d ", _CALL),
    "Content-Length and a tab": sized(b" %d\t", _CALL),
    "Content-Length with twenty digits": sized(b" %b%%d" % (b"0" * 19)),
    "Content-Length with 5,000 digits": sized(b" %b%%d" % (b"0" * 5000)),
    "Content-Length above 2**64": sized(b" " + _LONG),
    # Transfer-Encoding
    "gzip, chunked": coded(b" gzip, chunked"),
    "identity, chunked": coded(b" identity, chunked"),
    "chunked, identity": coded(b" chunked, identity"),
    "chunked twice in a list": coded(b" chunked, chunked"),
    "chunked after a comma": coded(b" ,chunked"),
    "chunked before a comma": coded(b" chunked,"),
    "chunked with a parameter": coded(b" chunked;a=b"),
    "chunked in quotes": coded(b' "chunked"'),
    "chunked after a vertical tab": coded(b" \x0bchunked"),
    "chunked before a form feed": coded(b" chunked\x0c"),
    "chunked before a tab": coded(b" chunked\t"),
    "chunked before a no-break space": coded(b" chunked\xa0"),
    "chunked in another word": coded(b" xchunked"),
    "chunked in two words": coded(b" x chunked"),
    "a coding with parameters": coded(b" deflate;x, chunked"),
    "identity": coded(b" identity"),
    "an unknown coding": coded(b" cow"),
    "an empty Transfer-Encoding": coded(b""),
    "two lines, gzip and chunked": coded(b" gzip\r\nTransfer-Encoding: chunked"),
    "two lines, identity and chunked": coded(b" identity\r\nTransfer-Encoding: chunked"),
    "two lines, chunked and identity": coded(b" chunked\r\nTransfer-Encoding: identity"),
    "two lines, chunked and chunked": coded(b" chunked\r\nTransfer-Encoding: chunked"),
    "chunked in HTTP/1.0": coded(b" chunked", version=b"1.0"),
    "chunked in HTTP/1.0 with keep-alive": coded(b" chunked\r\nConnection: keep-alive", version=b"1.0"),
    "chunked in HTTP/1.0 with Upgrade": coded(b" chunked\r\n" + _H2C[:-2], version=b"1.0"),
    "gzip, chunked with Upgrade": coded(b" gzip, chunked\r\n" + _WEBSOCKET[:-2]),
    # Names, values and lines of the head
    "a folded line": get(b"X-Odd: a\r\n b\r\n"),
    "a folded Transfer-Encoding": coded(b"\r\n chunked"),
    "a folded Content-Length": sized(b" %d\r\n 0"),
    "white space before the first header": get(host=b" Host: proxy\r\n"),
    "a tab before the first header": get(host=b"\tHost: proxy\r\n"),
    "a space before a colon": post(b"Content-Length : %d\r\n" % len(INNER), INNER),
    "a tab before a colon": post(b"Transfer-Encoding\t: chunked\r\n", chunk(INNER) + _END),
    "an empty name": get(b": x\r\n"),
    "a line without a colon": get(b"X-Odd\r\n"),
    "NUL in a name": get(b"X-O\0dd: x\r\n"),
    "NUL in a value": get(b"X-Odd: x\0\r\n"),
    "a control character in a value": get(b"X-Odd: \x01\r\n"),
    "DEL in a value": get(b"X-Odd: \x7f\r\n"),
    "a name in quotes": post(b'"Content-Length": %d\r\n' % len(INNER), INNER),
    "a name with bytes above 127": get(b"X-Odd\xe9: x\r\n"),
    "a name with parentheses": get(b"X(odd): x\r\n"),
    "LF after a header": post(b"X-Odd: x\nTransfer-Encoding: chunked\r\n", chunk(INNER) + _END),
    "LF after the request line": get(line=b"GET /v1/models HTTP/1.1\nX-Odd: x"),
    "LF as the end of the head": get()[:-2] + b"\n" + INNER,
    "LF everywhere": get().replace(b"\r\n", b"\n"),
    "CR after a header": post(b"X-Odd: x\rTransfer-Encoding: chunked\r\n", chunk(INNER) + _END),
    "CR after the request line": get(line=b"GET /v1/models HTTP/1.1\rX-Odd: x"),
    "CR as the end of the head": get()[:-2] + b"\r" + INNER,
    # Chunks
    "a hexadecimal prefix of a chunk size": chunks(chunk(INNER, b"0x%x" % len(INNER)) + _END),
    "a signed chunk size": chunks(chunk(INNER, b"+%x" % len(INNER)) + _END),
    "a negative chunk size": chunks(chunk(INNER, b"-%x" % len(INNER)) + _END),
    "a space before a chunk size": chunks(chunk(INNER, b" %x" % len(INNER)) + _END),
    "a space after a chunk size": chunks(chunk(INNER, b"%x " % len(INNER)) + _END),
    "a tab after a chunk size": chunks(chunk(INNER, b"%x\t" % len(INNER)) + _END),
    "a chunk size with an underscore": chunks(chunk(INNER, b"0_%x" % len(INNER)) + _END),
    "no chunk size": chunks(b"\r\n" + INNER + b"\r\n" + _END),
    "a chunk size that is no number": chunks(chunk(INNER, b"g") + _END),
    "a chunk size above 2**64": chunks(chunk(INNER, _LONG_CHUNK) + _END),
    "LF after a chunk size": chunks(b"%x\n%b\r\n" % (len(INNER), INNER) + _END),
    "CR after a chunk size": chunks(b"%x\r%b\r\n" % (len(INNER), INNER) + _END),
    "LF after a chunk": chunks(b"%x\r\n%b\n" % (len(INNER), INNER) + _END),
    "nothing after a chunk": chunks(b"%x\r\n%b" % (len(INNER), INNER) + _END),
    "two bytes more than the chunk size": chunks(b"%x\r\n%bXX\r\n" % (len(INNER), INNER) + _END),
    "LF in a chunk extension": chunks(b"%x;a\n%b\r\n" % (len(INNER), INNER) + _END),
    "CR in a chunk extension": chunks(b"%x;a\rb\r\n%b\r\n" % (len(INNER), INNER) + _END),
    "a line end in a quoted chunk extension": chunks(chunk(INNER, b'%x;a="\r\n"' % len(INNER)) + _END),
    "an empty chunk extension": chunks(chunk(INNER, b"%x;" % len(INNER)) + _END),
    "NUL in a chunk extension": chunks(chunk(INNER, b"%x;\0" % len(INNER)) + _END),
    "LF after the last chunk": chunks(chunk(INNER) + b"0\n\n"),
    "LF as the end of the trailers": chunks(chunk(INNER) + b"0\r\n\n"),
    "a request instead of the end of the trailers": chunks(chunk(INNER) + b"0\r\n") + INNER,
    # Trailers
    "Content-Length in a trailer": trailers(_LENGTH) + INNER,
    "Transfer-Encoding in a trailer": trailers(_CHUNKED),
    "Connection: close in a trailer": trailers(b"Connection: close\r\n"),
    "Proxy-Connection: close in a trailer": trailers(b"Proxy-Connection: close\r\n"),
    "Connection: keep-alive in a trailer": trailers(b"Connection: keep-alive\r\n"),
    "Upgrade in a trailer": trailers(b"Upgrade: h2c\r\n"),
    "Host in a trailer": trailers(b"Host: elsewhere\r\n"),
    "Expect in a trailer": trailers(b"Expect: 100-continue\r\n"),
    "a folded trailer": trailers(b"X-Odd: a\r\n b\r\n"),
    "LF after a trailer": trailers(b"X-Odd: x\n"),
    "a space before the colon of a trailer": trailers(b"X-Odd : x\r\n"),
    "a hundred trailers too many": trailers(b"X-Odd: x\r\n" * 200),
    "a trailer of 40 kB": trailers(b"X-Odd: %b\r\n" % (b"x" * 40_000)),
    # Versions
    "HTTP/2.0": line(b"GET /v1/models HTTP/2.0"),
    "HTTP/1.2": line(b"GET /v1/models HTTP/1.2"),
    "HTTP/0.9": line(b"GET /v1/models HTTP/0.9"),
    "no version": line(b"GET /v1/models"),
    "HTTP/1.10": line(b"GET /v1/models HTTP/1.10"),
    "HTTP/1.": line(b"GET /v1/models HTTP/1."),
    "http/1.1 in lower case": line(b"GET /v1/models http/1.1"),
    "an unknown protocol": line(b"GET /v1/models HTCPCP/1.1"),
    "HTTP/2.0 with Upgrade": get(_H2C, line=b"GET /v1/models HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    # Methods and request lines
    "a method in lower case": line(b"get /v1/models HTTP/1.1"),
    "an unknown method": line(b"GETGET /v1/models HTTP/1.1"),
    "a space before the method": line(b" GET /v1/models HTTP/1.1"),
    "a tab after the method": line(b"GET\t/v1/models HTTP/1.1"),
    "a space after the version": line(b"GET /v1/models HTTP/1.1 "),
    # Targets
    "CONNECT": line(b"CONNECT proxy:443 HTTP/1.1", host=b"Host: proxy:443\r\n"),
    "an authority": line(b"GET proxy:80 HTTP/1.1"),
    "an asterisk": line(b"GET * HTTP/1.1"),
    "a path without a slash": line(b"GET v1/models HTTP/1.1"),
    "an absolute URL of another host": line(b"GET http://elsewhere/v1/models HTTP/1.1"),
    "an absolute URL of another port": line(b"GET http://proxy:81/v1/models HTTP/1.1"),
    "an absolute URL with a user": line(b"GET http://user@proxy/v1/models HTTP/1.1"),
    "an absolute URL with an empty Host": line(b"GET http://proxy/v1/models HTTP/1.1", host=b"Host:\r\n"),
    "another scheme": line(b"GET ftp://proxy/v1/models HTTP/1.1"),
    "an invalid port in an absolute URL": line(b"GET http://proxy:99999/v1/models HTTP/1.1"),
    "a fragment": line(b"GET /v1/models#fragment HTTP/1.1"),
    "NUL in the path": line(b"GET /v1/models\0 HTTP/1.1"),
    "a tab in the path": line(b"GET /v1/models\tx HTTP/1.1"),
    "bytes above 127 in the path": line(b"GET /v1/models/\xe6 HTTP/1.1"),
    # Host
    "no Host": get(host=b""),
    "two Hosts": get(host=b"Host: proxy\r\nHost: elsewhere\r\n"),
    "two equal Hosts": get(host=b"Host: proxy\r\nHost: proxy\r\n"),
    "two Hosts in HTTP/1.0": line(b"GET /v1/models HTTP/1.0", host=b"Host: proxy\r\nHost: elsewhere\r\n"),
    "no Host with Upgrade": get(_H2C, host=b""),
    "Host with a path": get(host=b"Host: proxy/v1\r\n"),
    "Host with a user": get(host=b"Host: user@proxy\r\n"),
    "Host with a space": get(host=b"Host: proxy elsewhere\r\n"),
    "a list in Host": get(host=b"Host: proxy, elsewhere\r\n"),
    "Host with an invalid port": get(host=b"Host: proxy:80x\r\n"),
    "Host with two ports": get(host=b"Host: proxy:80:81\r\n"),
    "Host with bytes above 127": get(host=b"Host: pr\xf6xy\r\n"),
    "Host with a backslash": get(host=b"Host: proxy\\elsewhere\r\n"),
    # Expect and Connection
    "an unknown Expect": post(b"Expect: payment\r\n" + _LENGTH, INNER),
    "Expect with another word": post(b"Expect: y 100-continue\r\n" + _LENGTH, INNER),
    "Expect with a list": post(b"Expect: 100-continue, x\r\n" + _LENGTH, INNER),
    "two Expects": post(b"Expect: 100-continue\r\nExpect: 100-continue\r\n" + _LENGTH, INNER),
    "an empty Expect": post(b"Expect:\r\n" + _LENGTH, INNER),
    "Connection names Content-Length": post(b"Connection: Content-Length\r\n" + _LENGTH, INNER),
    "Connection names Transfer-Encoding": coded(b" chunked\r\nConnection: close, transfer-encoding"),
    "Connection names Host": get(b"Connection: keep-alive, Host\r\n"),
}  # fmt: skip

FORMS = tuple(_forms())
