"""Settings that are addresses: URLs, hosts, networks, origins, and paths of requests."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*")
UNIX = "unix:"
"""What `server.host` begins with if it is a Unix socket."""
_SOCKET_PATH = re.compile(r"/[^\x00]{1,99}")
_BASE_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+")
_NO_ORIGINS = frozenset({"file", "data", "blob", "about", "javascript", "ftp", "ws", "wss"})
"""Schemes of pages whose origin is opaque (sent as `null`), or that no page has."""
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/messages", "/embeddings")
_DOUBLED = re.compile(r"/(v[0-9][a-z0-9]*)/\1$")
_URL = re.compile(r"https?://[^\s\x00-\x20\x7f\\]+", re.IGNORECASE)


def exact_origin(origin: str) -> str:
    """The origin of web pages, or of a desktop application or an extension (`app://obsidian.md`)."""
    if origin == "null" or origin.startswith("file:"):
        raise ValueError("`null` and file: match any local page and sandboxed frame, so they cannot be allowed")
    match = _ORIGIN.fullmatch(origin)
    if not match or match[1] in _NO_ORIGINS:
        raise ValueError("must be an exact origin in lower case without a path, like https://app.example.com")
    if origin.endswith(_DEFAULT_PORTS.get(match[1], " ")):
        raise ValueError("must not have the default port, which browsers leave out of an origin")
    return origin


def host_name(host: str) -> str:
    """A host name or address as in a URL, without port -> in lower case."""
    name = host.lower().removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(name):
        raise ValueError("must be a host name without scheme and port, like llm.example.com")
    return name


def host_or_socket(host: str) -> str:
    """An address or a name to listen on, or `unix:PATH`."""
    if host.startswith(UNIX) and not _SOCKET_PATH.fullmatch(host.removeprefix(UNIX)):
        raise ValueError(
            "must be unix: and an absolute path of at most 100 bytes, like unix:/run/models-proxy/http.sock"
        )
    return host


def path_prefix(value: object) -> str:
    """A path of one or more segments, or `/` for none -> without a slash at the end."""
    path = str(value).rstrip("/")
    if path and not _BASE_PATH.fullmatch(path):
        raise ValueError("must be a path like /llm, of letters, digits, `.`, `_`, `~` and `-`")
    return path or "/"


def _base_url(url: str) -> str:
    path = urlsplit(url).path.rstrip("/")
    if endpoint := next((end for end in _ENDPOINTS if path.endswith(end)), ""):
        raise ValueError(f"must not end with an endpoint; remove `{endpoint}`: the proxy adds it")
    if _DOUBLED.search(path):
        raise ValueError("ends with the same version twice, like `/v1/v1`; remove one")
    return url


def _url(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("must not contain `?` or `#`")
    if not is_url(url):
        raise ValueError("must be a URL like https://api.example.com/v1")
    if "@" in urlsplit(url).netloc:
        raise ValueError("must not contain a user or password; use `api_key` or `headers`")
    return url


def proxy_url(proxy: SecretStr) -> SecretStr:
    url = proxy.get_secret_value()
    if "?" in url or "#" in url or not is_url(url):
        raise ValueError("must be a URL like http://egress:3128; if it needs user and password, percent-encode them")
    return proxy


def is_loopback(host: str) -> bool:
    """Whether a host name or address is always this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_url(url: str) -> bool:
    """Whether a text is an absolute http:// or https:// URL."""
    # urlsplit removes line breaks silently, and its errors quote the text.
    if not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def browser_url(url: str) -> str:
    """The URL of this server in browsers -> without a slash at the end."""
    _url(url)
    parts = urlsplit(url)
    if parts.scheme.lower() != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https://, unless its host is a loopback address")
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_url)]
BaseUrl = Annotated[Url, AfterValidator(_base_url)]


def network(text: str) -> str:
    """A network, such as `10.0.0.0/8`, or one address. An IPv4 network in IPv6 form (`::ffff:10.0.0.0/104`) -> IPv4."""
    text = text.strip()
    if "%" in text:  # addresses are compared without it, so the same address of another interface would match
        raise ValueError("must be without a zone id (`%` and an interface)")
    try:
        return str(_unmapped(ip_network(text)))
    except ValueError:
        pass
    try:
        hint = f"; did you mean {_unmapped(ip_network(text, strict=False))}?"
    except ValueError:
        hint = ""
    raise ValueError(f"must be a network such as 10.0.0.0/8, or an address{hint}")


def restricted_network(text: str, hint: str) -> str:
    """A network that is not the whole internet. `hint`: why it must not be, and what to set."""
    if ip_network(found := network(text)).prefixlen == 0:
        raise ValueError(f"contains every address, {hint}")
    return found


def reverse_proxies(text: str) -> str:
    """A network of reverse proxies, such as `10.0.0.0/8`."""
    return restricted_network(
        text, "so any client could forge X-Forwarded-For; set the addresses of the reverse proxies"
    )


def _unmapped(found: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Addresses of clients are compared as IPv4 ones, also if a socket for IPv6 has accepted their connection."""
    if isinstance(found, IPv6Network) and found.prefixlen >= 96 and (address := found.network_address.ipv4_mapped):
        return IPv4Network((address, found.prefixlen - 96))
    return found
