"""Remove details of a provider's machines and credentials from entries before they are stored.

File paths, command lines, addresses and credentials are recognized by field name at any depth; paths and addresses
also by their text. Most entries contain none of these, so a fast check comes first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

_SEPARATORS = re.compile(r"[\W_]+")
# Lower case without separators: `apiKey`, `api-key` and `api_key` are all `apikey`.
_PRIVATE_NAMES = frozenset(
    [
        # Command lines and their arguments.
        "args", "argv", "cliargs", "cmdargs", "commandargs", "engineargs", "extraargs", "launchargs", "serverargs",
        "startargs", "vllmargs", "cmd", "cmdline", "command", "commandline", "launchcommand", "startcommand",
        "entrypoint", "preset", "backendparameters", "env", "environ", "envvars", "environmentvariables", "modelfile",
        # Addresses of machines, and connection settings.
        "apiurl", "apihost", "apiendpoint", "azureendpoint", "endpointurl", "serverurl", "upstreamurl", "backendurl",
        "proxyurl", "workerurl", "internalurl", "baseuri", "host", "remotehost", "serverhost", "ip", "serverip",
        "workerip", "address", "serveraddress", "workeraddress", "connectionstring", "dsn", "litellmparams",
        # Credentials. Not all names ending with `token`: `cost_per_token` is a price and `eos_token` a text.
        "token", "accesstoken", "apitoken", "authtoken", "bearertoken", "hftoken", "idtoken", "refreshtoken",
        "secrettoken", "securitytoken", "sessiontoken", "auth", "authorization", "proxyauthorization", "bearer",
        "jwt", "cookie", "setcookie", "headers", "extraheaders", "httpheaders",
    ]
)  # fmt: skip
_PRIVATE_ENDINGS = (
    "path", "paths", "filepath", "dir", "directory",
    "apibase", "baseurl", "hostname", "ipaddress",
    "apikey", "apikeys", "accesskey", "accesskeyid", "authkey", "privatekey", "secretkey",
    "secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials",
)  # fmt: skip

# `C:\x`, `\\host\x`, `~/x`, `/x/y`, `/x.gguf`; but neither `/think turns it on` nor API paths.
_MACHINE_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\\w|file:|~[\w.-]*/|/[^/\s]+/|/[^/\s]+\.\w{1,12}\Z")
_API_PATH = re.compile(
    r"/(?:v[0-9]+[a-z0-9]*|api|openai)(?:/\S*)?\Z"
    r"|/(?:[\w{}:-]+/)*(?:completions|responses|messages|embeddings|generations|edits|variations|speech"
    r"|transcriptions|translations|moderations|rerank|realtime|batch|batches|count_tokens)/?\Z"
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://\S+\Z")
_STORAGE_SCHEMES = frozenset(
    ["abfs", "abfss", "az", "cos", "file", "gcs", "grpc", "grpcs", "gs", "hdfs", "nfs", "obs", "oss", "redis", "s3",
     "smb", "tcp", "unix", "wasb", "wasbs"]
)  # fmt: skip
_PRIVATE_DOMAINS = (
    ".internal", ".intranet", ".local", ".localdomain", ".localhost", ".lan", ".corp", ".private", ".home.arpa",
    ".svc", ".cluster",
)  # fmt: skip

_MAX_NAMES = 1024
_MAX_REBUILD_INTERVAL = 256  # entries


@lru_cache(maxsize=8192)
def is_private_name(name: str) -> bool:
    """Whether a field of this name contains details of the provider's machines or credentials."""
    plain = _SEPARATORS.sub("", name.casefold())
    return plain in _PRIVATE_NAMES or plain.endswith(_PRIVATE_ENDINGS)


def is_private_text(text: str) -> bool:
    """Whether a text is a file path or a private address."""
    if _MACHINE_PATH.match(text):
        return not _API_PATH.match(text)
    url = _URL.match(text)
    return url is not None and (url[1].lower() in _STORAGE_SCHEMES or _is_private_address(url[1].lower(), text))


def _is_private_address(scheme: str, url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return True
    if "@" in parts.netloc:
        return True  # contains user info
    if scheme not in ("http", "https", "ws", "wss"):
        return False  # `hf://maker/model`
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_DOMAINS)


def may_contain_paths(json: bytes) -> bool:
    """Whether JSON may contain a file path or an address. A fast check; needs JSON without unnecessary escapes."""
    if b"/" not in json and b"\\" not in json:
        return False
    return b'"/' in json or b":/" in json or b'"~' in json or b"\\\\" in json


def without_private(
    payload: Mapping[str, Any],
    own_id: str,
    named: frozenset[str] = frozenset(),
    documented: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Return an entry without private values. Values equal to its id are kept.

    Private outermost fields are kept if they are `named`; private values nested in a named field are not.
    `documented` fields are kept at any depth.
    """
    privacy = _PrivacyFilter(own_id, documented)
    shown = {
        name: value if name in named and privacy.is_private(name, value) else privacy.filter(name, value)
        for name, value in payload.items()
    }
    root = shown.get("root")
    if isinstance(root, str) and root.startswith("/") and root != own_id:
        shown["root"] = _REMOVED
    return {name: value for name, value in shown.items() if value is not _REMOVED}


_REMOVED = object()


class _PrivacyFilter:
    """Filters the values of one entry."""

    def __init__(self, own_id: str, documented: frozenset[str]) -> None:
        self._own_id, self._documented = own_id, documented

    def filter(self, name: str, value: Any) -> Any:
        """The value of a field without private parts, `_REMOVED` if the field itself is private."""
        if name in self._documented:
            return value
        if self.is_private(name, value):
            return _REMOVED
        if isinstance(value, dict):
            filtered = {name: self.filter(name, inner) for name, inner in value.items()}
            return {name: inner for name, inner in filtered.items() if inner is not _REMOVED}
        if isinstance(value, list):
            return [inner for inner in (self.filter("", item) for item in value) if inner is not _REMOVED]
        return value

    def is_private(self, name: str, value: Any) -> bool:
        if value is None or isinstance(value, bool) or value == self._own_id:
            return False
        return is_private_name(name) or (isinstance(value, str) and is_private_text(value))


class SafeNames:
    """Field names that were seen and are not private.

    `decode` accepts only these names, so decoding an entry also verifies its names at no extra cost. Checking each
    name separately would add a tenth to the cost of parsing a list.
    """

    def __init__(self) -> None:
        self._names = {"id"}
        self._misses, self._rebuild_after = 0, 1
        self.decode = _decoder(self._names)
        """Decode an entry that has only known names and few levels. Raises ValueError for any other."""

    def add_if_safe(self, payload: Mapping[str, Any]) -> bool:
        """Return whether an entry has no private names, and add its names if so."""
        names: set[str] = set()
        _collect(payload, names)
        if any(map(is_private_name, names)):
            return False
        self._add(names)
        return True

    def _add(self, names: set[str]) -> None:
        # Creating a decoder takes a millisecond, so rebuild rarely if each entry has new names.
        self._misses += 1
        if len(self._names) + len(names) <= _MAX_NAMES:
            self._names |= names
            if self._misses >= self._rebuild_after:
                self._misses, self._rebuild_after = 0, min(2 * self._rebuild_after, _MAX_REBUILD_INTERVAL)
                self.decode = _decoder(self._names)


def _decoder(names: Iterable[str]) -> Callable[[bytes], dict[str, Any]]:
    """Return a decoder of objects that have only these names, on up to four levels."""
    name = Literal[tuple(sorted(names))]  # type: ignore[valid-type]
    value: Any = None | bool | int | float | str
    inner: Any = dict[name, value | list[value]]  # type: ignore[valid-type]
    for _ in range(2):
        inner = dict[name, value | list[value | inner] | inner]  # type: ignore[valid-type]
    return msgspec.json.Decoder(inner).decode


def _collect(value: Any, names: set[str]) -> None:
    if isinstance(value, dict):
        names.update(value)
        for inner in value.values():
            _collect(inner, names)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, names)
