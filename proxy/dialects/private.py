"""Remove details of a provider's machines and credentials from entries before they are stored.

File paths, command lines, addresses and credentials are recognized by field name (here) and by form (`private_text`) at
any depth. Most entries contain none of these, so fast checks come first: `SafeNames` for names, `private_signs` for
texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Literal

import msgspec

from proxy.dialects.private_paths import is_path
from proxy.dialects.private_signs import ALL_SIGNS, Sign, may_be_private
from proxy.dialects.private_text import is_address, is_option, is_private_text

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
        "httpproxy", "httpsproxy", "webhookurl", "callbackurl", "nodename", "podname", "podip", "hostip", "nodeip",
        "port", "pid", "cwd", "workdir", "bucket", "bucketname",
        # Credentials. Not all names ending with `token`: `cost_per_token` is a price and `eos_token` a text.
        "token", "idtoken", "auth", "authorization", "proxyauthorization", "bearer", "jwt", "cookie", "cookies",
        "setcookie", "pwd", "serviceaccount", "serviceaccountjson", "serviceaccountkey",
    ]
)  # fmt: skip
_PRIVATE_ENDINGS = (
    "path", "paths", "filepath", "dir", "directory",
    "apibase", "baseurl", "hostname", "ipaddress", "headers",
    "apikey", "apikeys", "accesskey", "accesskeyid", "accountkey", "authkey", "encryptionkey", "masterkey",
    "privatekey", "secretkey", "signingkey", "sshkey", "subscriptionkey", "virtualkey",
    "secret", "secrets", "password", "passwords", "passwd", "passphrase", "credential", "credentials",
    "accesstoken", "apitoken", "authtoken", "bearertoken", "hftoken", "refreshtoken", "sastoken", "secrettoken",
    "securitytoken", "sessiontoken", "usertoken",
)  # fmt: skip
# Their texts are private if they are addresses, also those of public hosts.
_HOST_NAMES = frozenset(
    ["addr", "backend", "bind", "endpoint", "instance", "listen", "listenaddr", "node", "server", "target", "upstream",
     "worker"]
)  # fmt: skip
_ADDRESSES = frozenset(["uri", "url"])
"""Names of addresses in the objects that describe these hosts."""

_MAX_JSON_VALUES = 1_000
_MIN_TEXT = 8  # characters; shorter texts are not private
_MAX_NAMES = 1024
_MAX_REBUILD_INTERVAL = 256  # entries


def is_private_name(name: str) -> bool:
    """Whether a field of this name contains details of the provider's machines or credentials, or is one itself."""
    plain = _plain(name)
    if plain in _PRIVATE_NAMES or plain.endswith(_PRIVATE_ENDINGS):
        return True
    return len(name) >= _MIN_TEXT and (is_option(name) or is_private_text(name))


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name.casefold())


def leads_to_private(path: str) -> bool:
    """Whether a dotted path contains a private name."""
    return any(map(is_private_name, path.split(".")))


def without_private(
    payload: Mapping[str, Any],
    own_id: str,
    kept: Set[str] = frozenset(),
    safe: Set[str] = frozenset(),
    signs: Sequence[Sign] = ALL_SIGNS,
) -> dict[str, Any]:
    """Return an entry without private values. Values equal to its id are kept.

    `kept` are dotted paths of fields that are kept if they are private themselves; in others private parts are removed.
    `safe` are names that are known not to be private, `signs` all signs that texts of the entry can have.
    """
    shown = _PrivacyFilter(own_id, kept, safe, signs).fields(payload, "")
    root = shown.get("root")
    if isinstance(root, str) and root != own_id and "root" not in kept and is_path(root):
        del shown["root"]
    return shown


def selected(payload: Mapping[str, Any], paths: Set[str]) -> dict[str, Any]:
    """Return only the fields at these dotted paths. Objects and arrays on a path are kept if they lead to a value."""
    fields = _selected(payload, paths, "")
    return {} if fields is _REMOVED else dict(fields)


def _selected(value: Any, paths: Set[str], path: str) -> Any:
    if path in paths:
        return value
    if isinstance(value, dict):
        inner = {name: _selected(value[name], paths, _inner(path, name)) for name in value}
        return {name: field for name, field in inner.items() if field is not _REMOVED} or _REMOVED
    if isinstance(value, list):
        return [item for item in (_selected(item, paths, path) for item in value) if item is not _REMOVED] or _REMOVED
    return _REMOVED


def _inner(path: str, name: str) -> str:
    """The dotted path of a field. It is that of an array for all its elements, too."""
    return f"{path}.{name}" if path else name


def has_private_text(value: Any, own_id: str, signs: Sequence[Sign]) -> bool:
    """Whether a value contains a private text, at any depth. Its names are not checked."""
    if isinstance(value, str):
        return value != own_id and is_private(value, signs)
    if isinstance(value, dict):
        return any(has_private_text(inner, own_id, signs) for inner in value.values())
    if isinstance(value, list):
        return _is_command(value) or any(has_private_text(inner, own_id, signs) for inner in value)
    return False


def is_private(text: str, signs: Sequence[Sign] = ALL_SIGNS) -> bool:
    """Whether a text is private by its form, or is JSON that contains private values. It has no other signs."""
    return may_be_private(text, signs) and (is_private_text(text) or _is_private_json(text))


def _is_private_json(text: str) -> bool:
    if '"' not in text or not text.lstrip().startswith(("{", "[")):
        return False
    if text.count(",") + text.count("[") + text.count("{") > _MAX_JSON_VALUES:
        return True  # too long to be searched
    try:
        value = msgspec.json.decode(text)
        return bool(_PrivacyFilter("", frozenset(), frozenset(), ALL_SIGNS).value("", value) != value)
    except ValueError:
        return False
    except RecursionError:
        return True


def _is_command(values: Sequence[Any]) -> bool:
    """Whether an array contains options of a command line: its other texts are their values."""
    return any(isinstance(value, str) and is_option(value) for value in values)


_REMOVED: Any = object()


class _PrivacyFilter:
    """Filters the values of one entry."""

    def __init__(self, own_id: str, kept: Set[str], safe: Set[str], signs: Sequence[Sign]) -> None:
        self._own_id, self._kept, self._safe, self._signs = own_id, kept, safe, signs

    def fields(self, payload: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The fields of an object without private parts."""
        filtered = {name: self._field(_inner(path, name), name, payload[name]) for name in payload}
        return {name: value for name, value in filtered.items() if value is not _REMOVED}

    def _field(self, path: str, name: str, value: Any) -> Any:
        """The value of a field without private parts, `_REMOVED` if the field itself is private."""
        if value is None or isinstance(value, bool) or value == self._own_id:
            return value
        if name not in self._safe:
            if is_private_name(name):
                return _selected(value, self._kept, path) if self._kept else _REMOVED
            if _plain(name) in _HOST_NAMES:
                if isinstance(value, str) and is_address(value):
                    return value if path in self._kept else _REMOVED
                if isinstance(value, dict):
                    value = {inner: value[inner] for inner in value if not self._is_address_at(path, inner, value)}
        return self.value(path, value)

    def _is_address_at(self, path: str, name: str, host: Mapping[str, Any]) -> bool:
        """Whether a field in the description of a host is its address."""
        text = host[name]
        is_address_of_host = _plain(name) in _ADDRESSES and isinstance(text, str) and is_address(text)
        return is_address_of_host and _inner(path, name) not in self._kept

    def value(self, path: str, value: Any) -> Any:
        """A value in a field that is not private itself, without private parts."""
        if isinstance(value, dict):
            return self.fields(value, path)
        if isinstance(value, list):
            if path not in self._kept and _is_command(value):
                return _REMOVED
            return [inner for inner in (self.value(path, item) for item in value) if inner is not _REMOVED]
        if not isinstance(value, str) or value == self._own_id or path in self._kept:
            return value
        return _REMOVED if is_private(value, self._signs) else value


class SafeNames:
    """Field names that were seen and are not private.

    `decode` accepts only these names, so decoding an entry also verifies its names at no extra cost. Checking each
    name separately would add a tenth to the cost of parsing a list.
    """

    def __init__(self) -> None:
        self.names = {"id"}
        self._misses, self._rebuild_after = 0, 1
        self.decode = _decoder(self.names)
        """Decode an entry that has only known names and few levels. Raises ValueError for any other."""

    def add_if_safe(self, payload: Mapping[str, Any]) -> bool:
        """Return whether an entry has no private names, and add its names that are not."""
        names: set[str] = set()
        _collect(payload, names)
        new = names - self.names
        unsafe = {name for name in new if is_private_name(name) or _plain(name) in _HOST_NAMES}
        if unsafe != new:
            self._add(new - unsafe)
        return not unsafe

    def _add(self, names: set[str]) -> None:
        # Creating a decoder takes a millisecond, so rebuild rarely if each entry has new names.
        self._misses += 1
        if len(self.names) + len(names) <= _MAX_NAMES:
            self.names |= names
            if self._misses >= self._rebuild_after:
                self._misses, self._rebuild_after = 0, min(2 * self._rebuild_after, _MAX_REBUILD_INTERVAL)
                self.decode = _decoder(self.names)


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
