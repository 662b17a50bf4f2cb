"""What a provider says of its own machine and credentials: never shown, so that no list and no store ever holds it.

Paths, command lines, addresses and credentials are told by the name of their field at any depth; paths and addresses
also by what their text looks like. Most entries hold none, so that it takes little to see that of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

_OTHER_THAN_LETTERS = re.compile(r"[\W_]+")
# Without `_` and `-`, in small letters: `apiKey` and `api-key` are `api_key`.
_NAMES = frozenset(
    [
        # Command lines, with all that was given to start a model.
        "args", "argv", "cliargs", "cmdargs", "commandargs", "engineargs", "extraargs", "launchargs", "serverargs",
        "startargs", "vllmargs", "cmd", "cmdline", "command", "commandline", "launchcommand", "startcommand",
        "entrypoint", "preset", "backendparameters", "env", "environ", "envvars", "environmentvariables", "modelfile",
        # Addresses of machines, and settings of connections.
        "apiurl", "apihost", "apiendpoint", "azureendpoint", "endpointurl", "serverurl", "upstreamurl", "backendurl",
        "proxyurl", "workerurl", "internalurl", "baseuri", "host", "remotehost", "serverhost", "ip", "serverip",
        "workerip", "address", "serveraddress", "workeraddress", "connectionstring", "dsn", "litellmparams",
        # Credentials. What only ends with `token` may be a price (`cost_per_token`) or a text (`eos_token`).
        "token", "accesstoken", "apitoken", "authtoken", "bearertoken", "hftoken", "idtoken", "refreshtoken",
        "secrettoken", "securitytoken", "sessiontoken", "auth", "authorization", "proxyauthorization", "bearer",
        "jwt", "cookie", "setcookie", "headers", "extraheaders", "httpheaders",
    ]
)  # fmt: skip
_ENDINGS = (
    "path", "paths", "filepath", "dir", "directory",
    "apibase", "baseurl", "hostname", "ipaddress",
    "apikey", "apikeys", "accesskey", "accesskeyid", "authkey", "privatekey", "secretkey",
    "secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials",
)  # fmt: skip

# `C:\x`, `\\host\x`, `~/x`, `/x/y`, `/x.gguf`; but not `/think turns it on`, nor the path of an API.
_MACHINE_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\\w|file:|~[\w.-]*/|/[^/\s]+/|/[^/\s]+\.\w{1,12}\Z")
_API_PATH = re.compile(
    r"/(?:v[0-9]+[a-z0-9]*|api|openai)(?:/\S*)?\Z"
    r"|/(?:[\w{}:-]+/)*(?:completions|responses|messages|embeddings|generations|edits|variations|speech"
    r"|transcriptions|translations|moderations|rerank|realtime|batch|batches|count_tokens)/?\Z"
)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://\S+\Z")
_OF_STORES = frozenset(
    ["abfs", "abfss", "az", "cos", "file", "gcs", "grpc", "grpcs", "gs", "hdfs", "nfs", "obs", "oss", "redis", "s3",
     "smb", "tcp", "unix", "wasb", "wasbs"]
)  # fmt: skip
_OF_NETWORKS = (
    ".internal", ".intranet", ".local", ".localdomain", ".localhost", ".lan", ".corp", ".private", ".home.arpa",
    ".svc", ".cluster",
)  # fmt: skip

_MAX_NAMES = 1024
_MAX_WAIT = 256


@lru_cache(maxsize=8192)
def is_private_name(name: str) -> bool:
    """Whether a field of this name tells of the provider's machine or credentials."""
    plain = _OTHER_THAN_LETTERS.sub("", name.casefold())
    return plain in _NAMES or plain.endswith(_ENDINGS)


def is_private_text(text: str) -> bool:
    """Whether a text is the path of a file or the address of a machine that is not for everyone."""
    if _MACHINE_PATH.match(text):
        return not _API_PATH.match(text)
    url = _URL.match(text)
    return url is not None and (url[1].lower() in _OF_STORES or _is_private_address(url[1].lower(), text))


def _is_private_address(scheme: str, url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return True
    if "@" in parts.netloc:
        return True  # a login
    if scheme not in ("http", "https", "ws", "wss"):
        return False  # `hf://maker/model`
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_OF_NETWORKS)


def may_tell_places(json: bytes) -> bool:
    """Whether JSON that has only the escapes it needs may hold a path or an address: a cheap question."""
    if b"/" not in json and b"\\" not in json:
        return False
    return b'"/' in json or b":/" in json or b'"~' in json or b"\\\\" in json


def without_private(
    payload: Mapping[str, Any],
    own_id: str,
    named: frozenset[str] = frozenset(),
    documented: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """An entry less what is never shown; values that repeat its id are no secret.

    Outermost fields that would be dropped are shown if they are `named`: to name `status` does not name what is
    private inside. `documented` fields are shown at any depth.
    """
    look = _Look(own_id, documented)
    shown = {
        name: value if name in named and look.is_private(name, value) else look.at(name, value)
        for name, value in payload.items()
    }
    root = shown.get("root")
    if isinstance(root, str) and root.startswith("/") and root != own_id:
        shown["root"] = _NOTHING
    return {name: value for name, value in shown.items() if value is not _NOTHING}


_NOTHING = object()


class _Look:
    """At the values of one entry."""

    def __init__(self, own_id: str, documented: frozenset[str]) -> None:
        self._own_id, self._documented = own_id, documented

    def at(self, name: str, value: Any) -> Any:
        """What may be shown of the value of a field, `_NOTHING` if it is private itself."""
        if name in self._documented:
            return value
        if self.is_private(name, value):
            return _NOTHING
        if isinstance(value, dict):
            inner = {name: self.at(name, one) for name, one in value.items()}
            return {name: one for name, one in inner.items() if one is not _NOTHING}
        if isinstance(value, list):
            return [one for one in (self.at("", one) for one in value) if one is not _NOTHING]
        return value

    def is_private(self, name: str, value: Any) -> bool:
        if value is None or isinstance(value, bool) or value == self._own_id:
            return False
        return is_private_name(name) or (isinstance(value, str) and is_private_text(value))


class Familiar:
    """The names of fields that were seen and are harmless.

    An entry that has no others is known to be so by decoding it: that takes no longer than it takes anyway, and a
    look at each name would cost a tenth of reading a list.
    """

    def __init__(self) -> None:
        self._names = {"id"}
        self._unknown, self._next = 0, 1
        self.decode = _decoder(self._names)
        """An entry of known names and few levels -> what it says. Raises ValueError for any other."""

    def is_harmless(self, payload: Mapping[str, Any]) -> bool:
        """Whether an entry that could not be decoded has no private names; they are known from now on."""
        names: set[str] = set()
        _collect(payload, names)
        if any(map(is_private_name, names)):
            return False
        self._learn(names)
        return True

    def _learn(self, names: set[str]) -> None:
        # A decoder takes a millisecond to make. A hostile list has new names in each entry.
        self._unknown += 1
        if len(self._names) + len(names) <= _MAX_NAMES:
            self._names |= names
            if self._unknown >= self._next:
                self._unknown, self._next = 0, min(2 * self._next, _MAX_WAIT)
                self.decode = _decoder(self._names)


def _decoder(names: Iterable[str]) -> Callable[[bytes], dict[str, Any]]:
    """Of objects with these names only, also inside, on up to four levels."""
    name = Literal[tuple(sorted(names))]  # type: ignore[valid-type]
    value: Any = None | bool | int | float | str
    inner: Any = dict[name, value | list[value]]  # type: ignore[valid-type]
    for _ in range(2):
        inner = dict[name, value | list[value | inner] | inner]  # type: ignore[valid-type]
    return msgspec.json.Decoder(inner).decode


def _collect(value: Any, names: set[str]) -> None:
    if isinstance(value, dict):
        names.update(value)
        for one in value.values():
            _collect(one, names)
    elif isinstance(value, list):
        for one in value:
            _collect(one, names)
